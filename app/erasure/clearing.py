"""What log server and cache hold of an account: its requests stopped, its dead letters dropped, its keys deleted.

One rule: nothing here is a truth that anybody needs; all of it is sealed under destroyed keys or ends by itself, and can be
deleted twice.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from app.answers import AnswerCache, CacheAway
from app.changes import Change, ChannelDown, tell
from app.log import Log, keys
from app.log.parked import drop, letters_in

log = structlog.get_logger()

SCANNED: Final = 2000
"""Names in one turn of the log server: about a millisecond of it."""

STOPPED_S_MAX: Final = 15.0
"""How long requests that were told to stop are waited for. What ends later ends unreadable, and gives no row."""

_LOOK_S: Final = 0.25


class NotYet(Exception):
    """Requests of the account still run, or the cache cannot be reached: the same is to be done again."""


async def stop(over: Log, account: str) -> int:
    """Tell every open request of the account to stop → how many there were."""
    running = await over.open_of(account)
    await asyncio.gather(*(over.cancel(account, one.request, "client") for one in running))
    return len(running)


async def clear(over: Log, answers: AnswerCache, account: str) -> int:
    """Delete whatever bears the account's name on the log server, and what is kept of its answers → how many keys.

    Raises NotYet; LogGone and LogRefused when the log's server is away.
    """
    try:
        async with asyncio.timeout(STOPPED_S_MAX):
            while await stop(over, account):  # noqa: ASYNC110  # what ends on the log wakes nobody here
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise NotYet("requests are still running") from None
    partition = over.partition_of(account)
    for letter in await letters_in(over, partition):
        if account.encode() in letter.raw:
            await drop(over, letter)
    deleted = await _delete_named(over, partition, account)
    try:
        await answers.forget(account)
    except CacheAway:
        raise NotYet("the cache cannot be reached") from None
    log.info("account_cleared", account=account, keys=deleted)
    return deleted


async def tell_all(cache_url: str, account: str) -> bool:
    """Have every process forget what it remembers of the account → whether they could be told; else they do so within
    a minute."""
    try:
        await tell(cache_url, Change("account", account))
    except ChannelDown:
        log.warning("account_change_not_told", account=account)
        return False
    return True


async def _delete_named(over: Log, partition: int, account: str) -> int:
    """Idempotency keys, limits, the set of open requests: whatever has the account in its name; and of its requests that
    ended within the hour, the live stream and how they stood."""
    server = over.nodes.at(partition)
    names, requests, cursor = set(), set(), b"0"
    prefix = keys.request(partition, "")
    while True:
        cursor, found = await server("SCAN", cursor, "MATCH", f"helix:{{{partition}}}:*", "COUNT", SCANNED)
        for name in (one.decode() for one in found):
            if account in name:
                names.add(name)
            elif name.startswith(prefix):
                requests.add(name)
        if cursor in (b"0", 0):
            break
    owners = await asyncio.gather(*(over.command("HGET", name, "account") for name in requests))
    for name, owner in zip(requests, owners, strict=True):
        if owner == account.encode():
            await over.let_go(account, name.removeprefix(prefix))
            names.add(name)
    if names:
        await over.command("DEL", *sorted(names))
    return len(names)
