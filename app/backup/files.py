"""What a backup consists of: five files and a manifest that knows the digest of each.

One rule: the manifest is written last, so a directory without one is no backup, whoever broke it off.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

DATABASE: Final = "database.dump"
"""Postgres without the rows of `data_keys`, in pg_dump's custom format."""
KEYS: Final = "data_keys.csv"
"""The data keys, wrapped; apart, so that an account that was erased since can be taken out, or a newer file be used."""
LOG: Final = "log.jsonl.gz"
"""What the log holds and the database does not: unread events, commands under way, dead letters."""
POSITION: Final = "position.json"
"""Where the log stood."""
MANIFEST: Final = "manifest.json"

SEALED: Final = (DATABASE, KEYS, LOG, POSITION)
"""The files whose digests the manifest holds."""

_CHUNK: Final = 2**20


class NoBackup(Exception):
    """The directory holds no whole backup, or cannot take one; the message says why."""


class Stand(BaseModel):
    """One partition of the log at the time of the backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: int
    read_by_all: str
    """The last entry that archive and projections in the dump have all applied; what comes behind it is in `log`."""
    last_id: str
    added: int
    """Events the stream was ever given, up to `last_id`."""


class Position(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stands: tuple[Stand, ...]


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    made_at: AwareDatetime
    partitions: int
    migration: str
    """The schema of the dump."""
    wrapped_by: tuple[str, ...]
    """Names of the keys in API_KEY_ENCRYPTION_KEY that unwrap the data keys. The keys themselves are in no backup."""
    sha256: dict[str, str]


def begin(directory: Path) -> None:
    """Make the directory, closed to others. Raises NoBackup when it holds anything."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(directory.iterdir()):
        raise NoBackup(f"{directory} is not empty")


def end(
    directory: Path, *, made_at: datetime, partitions: int, migration: str, wrapped_by: tuple[str, ...]
) -> Manifest:
    """Write the manifest over what lies there."""
    manifest = Manifest(
        made_at=made_at,
        partitions=partitions,
        migration=migration,
        wrapped_by=wrapped_by,
        sha256={name: digest(directory / name) for name in SEALED},
    )
    (directory / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    return manifest


def checked(directory: Path, *, other_keys: bool) -> tuple[Manifest, Position]:
    """The manifest and the position of a whole backup. `other_keys`: its own file of keys is not going to be used.

    Raises NoBackup when anything is missing or changed.
    """
    try:
        manifest = Manifest.model_validate_json((directory / MANIFEST).read_bytes())
        for name in SEALED:
            if not (other_keys and name == KEYS) and digest(directory / name) != manifest.sha256.get(name):
                raise NoBackup(f"{directory / name} is not what was written")
        return manifest, Position.model_validate_json((directory / POSITION).read_bytes())
    except FileNotFoundError as missing:
        raise NoBackup(f"{missing.filename} is missing: this is no whole backup") from None
    except ValidationError:
        raise NoBackup(f"{directory / MANIFEST} cannot be read by this version") from None


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            found.update(piece)
    return found.hexdigest()
