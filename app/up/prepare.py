"""Before the first process of ours: schema, streams, and the two accounts of a one-machine Helix.

`python -m app.up.prepare`, the two keys in the environment. One rule: a second run finds everything and changes nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from app import accounts, migrate
from app.identity import ACCOUNT_SCOPE, KEYS_SCOPE, ORDINARY_SCOPES, SCOPES
from app.settings import settings

DEVELOPER: Final = "developer@localhost"
OPERATOR: Final = "operator@localhost"
API_KEY: Final = "HELIX_DEVELOPER_KEY"
ADMIN_KEY: Final = "HELIX_OPERATOR_KEY"


async def prepare(database_url: str, api_key: str, admin_key: str) -> None:
    """The developer and the operator, each with a key. Enterprise: the tier without rate limits."""
    developer = await accounts.ensure_user(database_url, DEVELOPER, "enterprise")
    scopes = (*ORDINARY_SCOPES, KEYS_SCOPE, ACCOUNT_SCOPE)
    await accounts.ensure_key(database_url, developer, api_key, name="development", scopes=scopes)
    operator = await accounts.ensure_user(database_url, OPERATOR, "enterprise")
    await accounts.ensure_key(database_url, operator, admin_key, name="operator", scopes=SCOPES)


if __name__ == "__main__":
    migrate.run()
    asyncio.run(prepare(settings().database, os.environ[API_KEY], os.environ[ADMIN_KEY]))
