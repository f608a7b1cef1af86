"""Commands typed beside a running `up` find its servers. One rule: what the environment says is never overridden."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from app.log import LogGone
from app.log.connection import LogRefused
from app.log.count import written
from app.up.directory import Directory, default_directory

ENCRYPTION_KEY: Final = "API_KEY_ENCRYPTION_KEY"
PARTITIONS: Final = "HELIX_PARTITIONS"


def use_running() -> None:
    """Fill the settings that are missing from the `up` on the default data directory, if one runs there.

    Does nothing when the environment names another server: half of one place and half of another would be a mix-up.
    """
    path = default_directory()
    if not (path / "run.json").exists():
        return
    directory = Directory(path)
    facts = directory.facts()
    if facts is None:
        return
    servers = {"DATABASE_URL": facts["database_url"], "REDIS_URL": facts["redis_url"], "CACHE_URL": facts["cache_url"]}
    if any(os.environ.get(name, url) != url for name, url in servers.items()):
        return
    for name, url in servers.items():
        os.environ.setdefault(name, url)
    if PARTITIONS not in os.environ and (count := _partitions_of(facts["redis_url"])):
        os.environ[PARTITIONS] = str(count)
    if ENCRYPTION_KEY not in os.environ and directory.secret_file(ENCRYPTION_KEY.lower()).exists():
        os.environ[ENCRYPTION_KEY] = directory.secret(ENCRYPTION_KEY.lower())


def _partitions_of(url: str) -> int | None:
    """What the log itself says; None when it does not answer, which the command will say in its own words."""
    try:
        return asyncio.run(written(url))
    except (LogGone, LogRefused):
        return None
