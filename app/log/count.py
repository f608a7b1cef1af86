"""How many partitions a log has, written down on it. One rule: the count never changes under a log that is used.

An account's partition is its digest modulo the count. Under another count its open requests, limits and idempotency keys
would lie where nobody looks, and whole partitions would be read by nobody (docs/scaling.md, "Partitions").
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from app.log import keys
from app.log.connection import LogGone
from app.log.nodes import Nodes, looking

NAME: Final = "helix-partitions"
LOOKED_INTO: Final = 16
"""Partitions that are asked by who does not know how many there are: one whose node answers is among them."""


class OtherCount(Exception):
    """The log was made with another number of partitions; the message is one line for the operator."""

    def __init__(self, found: int, asked: int) -> None:
        super().__init__(
            f"HELIX_PARTITIONS is {asked}, but this log was made with {found}: set it to {found};"
            " docs/scaling.md says how a count is changed"
        )
        self.found = found


async def agree(url: str, partitions: int) -> None:
    """Write the count down on a log that has none. Raises OtherCount when it has another, LogGone, LogRefused.

    It lies in each partition, so that any node of a cluster knows it. While the node of partition 0 is away and no other
    has it, nothing is written: the one that is away may say something else.
    """
    async with looking(url, name=NAME, partitions=partitions) as nodes:
        found = await _written(nodes, partitions)
        _compare(found, partitions)
        if found[0] == "away" and partitions not in found:
            return
        missing = [partition for partition, count in enumerate(found) if count is None]
        said = await asyncio.gather(
            *(nodes("SET", keys.partitions(partition), partitions, "NX") for partition in missing),
            return_exceptions=True,
        )
        fatal = [one for one in said if isinstance(one, BaseException) and not isinstance(one, LogGone)]
        if fatal:
            raise fatal[0]
        if 0 in missing and (first := int(await nodes("GET", keys.partitions(0)))) != partitions:
            # Two processes with two counts began at the same moment, and the other was first.
            raise OtherCount(first, partitions)


async def check(url: str, partitions: int) -> None:
    """For who only looks: raises OtherCount like `agree`, and writes nothing."""
    async with looking(url, name=NAME, partitions=partitions) as nodes:
        _compare(await _written(nodes, partitions), partitions)


async def written(url: str) -> int | None:
    """The count that is written down; None on a log that nobody has used. Raises LogGone, LogRefused."""
    async with looking(url, name=NAME, partitions=LOOKED_INTO) as nodes:
        found = await _written(nodes, LOOKED_INTO)
    return next((count for count in found if isinstance(count, int)), None)


def _compare(found: Sequence[int | str | None], partitions: int) -> None:
    for count in found:
        if isinstance(count, int) and count != partitions:
            raise OtherCount(count, partitions)


async def _written(nodes: Nodes, partitions: int) -> list[int | str | None]:
    """For each partition its count, None where none is written, `away` where its server is."""
    asked = (nodes("GET", keys.partitions(partition)) for partition in range(partitions))
    found: list[int | str | None] = []
    for said in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(said, LogGone):
            found.append("away")
        elif isinstance(said, BaseException):
            raise said
        else:
            found.append(None if said is None else int(said))
    if all(one == "away" for one in found):
        raise LogGone("no server of the log answers", sent=False)
    return found
