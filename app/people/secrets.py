"""Words that open something once: in mails, and to stay signed in. One rule: only their SHA-256 is kept."""

from __future__ import annotations

from hashlib import sha256
from secrets import token_urlsafe
from typing import Final

_BYTES: Final = 32
CHARACTERS_MAX: Final = 128
REFRESH: Final = "hx_refresh_"
LINK: Final = "hx_link_"


def new_secret(kind: str) -> str:
    """256 random bits behind their kind, which a scanner of leaked secrets knows them by."""
    return kind + token_urlsafe(_BYTES)


def digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()
