"""Ids that sort by the time they were made."""

from __future__ import annotations

from uuid_utils import uuid7


def new_id() -> str:
    """A UUID of version 7 in its canonical form."""
    return str(uuid7())


def request_id() -> str:
    """`req_` and 32 hexadecimal digits of a UUID of version 7: newer ids sort behind older ones."""
    return f"req_{uuid7().hex}"
