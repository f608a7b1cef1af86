"""Two processes' ways to one cache, and accounts with keys of their own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from app.answers import AnswerCache
from app.vault import Box
from handlers.ports import Place

PATIENCE_S = 30.0
"""A cache that answers late on a busy machine is not away."""

ACCOUNT = "01900000-0000-7000-8000-000000000001"


def box_of(account: str = ACCOUNT) -> Box:
    """A box as the vault gives it, with a key made now."""
    return Box(account, {1: secrets.token_bytes(32)}, current=1, destroyed=frozenset())


def place(digest: str = "d1", *, account: str = ACCOUNT, scope: str = "completions") -> Place:
    return Place(account, scope, digest)


@pytest.fixture
async def cache(cache_url: str) -> AsyncIterator[AnswerCache]:
    opened = await AnswerCache(cache_url, name="one", reply_s_max=PATIENCE_S).open()
    yield opened
    await opened.close()


@pytest.fixture
async def other(cache_url: str) -> AsyncIterator[AnswerCache]:
    """Another process."""
    opened = await AnswerCache(cache_url, name="other", reply_s_max=PATIENCE_S).open()
    yield opened
    await opened.close()
