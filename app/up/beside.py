"""Commands typed beside a running `up` find its servers. One rule: what the environment says is never overridden."""

from __future__ import annotations

import os
from typing import Final

from app.up.directory import Directory, default_directory

ENCRYPTION_KEY: Final = "API_KEY_ENCRYPTION_KEY"


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
    if ENCRYPTION_KEY not in os.environ and directory.secret_file(ENCRYPTION_KEY.lower()).exists():
        os.environ[ENCRYPTION_KEY] = directory.secret(ENCRYPTION_KEY.lower())
