"""The names of the kept answers on the cache server. All keys of one account share a slot, and a new SHAPE finds nothing
of an older one."""

from __future__ import annotations

from typing import Final

from handlers.ports import Place

SHAPE: Final = 1
"""Raised when what lies under these names changes its form."""


def account(account: str) -> str:
    """The account's generation: whatever bears another is forgotten."""
    return f"helix:answers:{SHAPE}:{{{account}}}:generation"


def scope(account: str, scope: str) -> str:
    """The generation of one scope of the account."""
    return f"helix:answers:{SHAPE}:{{{account}}}:generation:{scope}"


def entry(place: Place) -> str:
    return f"helix:answers:{SHAPE}:{{{place.account}}}:entry:{place.scope}:{place.digest}"


def lease(place: Place) -> str:
    """Who is finding the answer."""
    return f"helix:answers:{SHAPE}:{{{place.account}}}:lease:{place.scope}:{place.digest}"


def neighbours(group: Place) -> str:
    """Earlier questions that differ in their last words alone."""
    return f"helix:answers:{SHAPE}:{{{group.account}}}:neighbours:{group.scope}:{group.digest}"


def of(place: Place) -> tuple[str, str, str, str]:
    """Entry, lease and both generations, as the scripts take them."""
    return entry(place), lease(place), account(place.account), scope(place.account, place.scope)
