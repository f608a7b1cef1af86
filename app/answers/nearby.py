"""Earlier questions by their meaning, on the cache server. Answers `handlers.ports.Nearby`.

One rule: a vector tells what was asked, so it is sealed like the words; what cannot be opened is passed by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import structlog

from app import telemetry
from app.answers import keys
from app.answers.cache import AWAY, AnswerCache
from app.vault import VaultRefused
from handlers.ports import Box, Place
from handlers.rules.likeness import NEIGHBOURS_MAX, Neighbour
from handlers.rules.rating import Usage

log = structlog.get_logger()

KIND: Final = "kept likeness"
"""What a neighbour is sealed as."""

_DIGEST_CHARACTERS: Final = 64


class NearbyQuestions:
    """Over one process's way to the cache."""

    def __init__(self, cache: AnswerCache, model: str) -> None:
        self._cache = cache
        self.model = model

    async def neighbours(self, group: Place, box: Box) -> list[Neighbour]:
        try:
            held = await self._cache.ask("LRANGE", keys.neighbours(group), 0, NEIGHBOURS_MAX - 1)
        except AWAY:
            return []
        return list(_opened(held, group, box))

    def note(self, group: Place, neighbour: Neighbour, box: Box, *, ttl_s: int) -> None:
        sealed = box.seal(KIND, _bound_to(group), neighbour.digest.encode() + neighbour.vector)
        self._cache.tell("note", (keys.neighbours(group),), sealed, NEIGHBOURS_MAX, ttl_s * 1000)

    def made(self, usage: Usage | None) -> None:
        telemetry.VECTORS.labels("failed" if usage is None else "made").inc()
        if usage:
            telemetry.VECTOR_TOKENS.inc(usage.input)


def _opened(held: list[bytes], group: Place, box: Box) -> Iterator[Neighbour]:
    for sealed in held:
        try:
            content = box.open(KIND, _bound_to(group), sealed)
            yield Neighbour(content[:_DIGEST_CHARACTERS].decode(), content[_DIGEST_CHARACTERS:])
        except (VaultRefused, ValueError) as worthless:
            log.info("kept_likeness_passed_by", account=group.account, reason=type(worthless).__name__)


def _bound_to(group: Place) -> str:
    return f"{group.scope} {group.digest}"
