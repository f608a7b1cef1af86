"""What is spent on each subject, as the log server counts it: read, set right, forgotten; and the holds of open requests.

One rule: a purse is set right by a difference, so that what is paid meanwhile is not lost (docs/limits.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.log import keys
from app.log.log import Log
from app.log.values import Counted

FORGOTTEN_S: Final = 24 * 3600
"""How long a purse that nobody asks for is there yet: longer than any request that holds something in it."""

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Hold:
    """What an open request has reserved. `purses`: (account, subject)."""

    partition: int
    request: str
    account: str
    entry: str
    nanousd: int
    tokens: int
    purses: tuple[tuple[str, str], ...]


async def count(log: Log, account: str, subject: str) -> Counted:
    """How a purse stands now."""
    p = log.partition_of(account)
    said = await log.script("count", (keys.purse(p, account, subject), keys.events(p)))
    known, rev, held, day, month, in_day, in_month, ever, newest = (word.decode() for word in said)
    return Counted(known == "1", rev, int(held), day, month, int(in_day), int(in_month), int(ever), newest)


async def correct(log: Log, account: str, subject: str, seen: Counted, day: int, month: int, ever: int) -> bool:
    """Add so much to what was spent, in nano-dollars, and hold it for known from now on → whether it was done: not when the
    day has turned, or somebody else has done so, since it was `seen`."""
    key = keys.purse(log.partition_of(account), account, subject)
    return bool(await log.script("correct", (key,), seen.rev, seen.day, seen.month, day, month, ever))


async def forget(log: Log, account: str, subject: str) -> None:
    """It is to be reckoned anew before anything is let in on it."""
    await log.script("forget", (keys.purse(log.partition_of(account), account, subject),), FORGOTTEN_S)


async def holds(log: Log, partition: int) -> list[Hold]:
    """What is reserved in a partition."""
    found, cursor = {}, "0"
    while True:
        said = await log.command("HSCAN", keys.holds(partition), cursor, "COUNT", PAGE)
        cursor, flat = said[0].decode(), said[1]
        for name, words in zip(flat[::2], flat[1::2], strict=True):
            found[name.decode()] = words.decode().split(" ")
        if cursor == "0":
            return [_hold(partition, request, words) for request, words in found.items()]


async def release(log: Log, hold: Hold) -> bool:
    """Free what a request holds whose command is off the log → whether it was."""
    p = hold.partition
    return bool(await log.script("release", (keys.commands(p), keys.holds(p), keys.touched(p)), hold.request))


async def take_touched(log: Log, partition: int) -> list[tuple[str, str]]:
    """(account, subject) of each purse that was paid from since the last time; each is told once."""
    said = await log.command("SPOP", keys.touched(partition), PAGE)
    return [keys.purse_of(partition, key.decode()) for key in said]


async def touch(log: Log, account: str, subject: str) -> None:
    """Have it looked at again."""
    p = log.partition_of(account)
    await log.command("SADD", keys.touched(p), keys.purse(p, account, subject))


def _hold(partition: int, request: str, words: list[str]) -> Hold:
    account, entry, nanousd, tokens, _, _, *purses = words
    subjects = tuple(keys.purse_of(partition, key) for key in purses)
    return Hold(partition, request, account, entry, int(nanousd), int(tokens), subjects)
