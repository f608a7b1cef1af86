"""The lead of one question in this process: it ends once, with an answer or without. Answers `handlers.ports.Lead`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from app.answers import keys
from handlers.ports import Box, Place
from handlers.rules.caching import TTL_S_MAX

log = structlog.get_logger()

KIND: Final = "kept answer"
"""What a kept answer is sealed as."""

SEALED_BYTES_MAX: Final = 512 * 1024
"""A hundred thousand words. Longer answers are rare, and would push out hundreds of others."""

GENERATION_MS: Final = 2 * TTL_S_MAX * 1000
"""Longer than any answer is kept. Should it vanish early, its answers are forgotten with it and never found again: a
generation is a random word and no count."""


class Leading:
    """The lead of one question in this process. An empty token: no lease is held."""

    __slots__ = ("_box", "_ended", "_generations", "_on_end", "_tell", "place", "token")

    def __init__(
        self,
        place: Place,
        box: Box,
        generations: bytes,
        token: str,
        *,
        tell: Callable[..., None],
        on_end: Callable[[Leading], None],
    ) -> None:
        """`tell` sends a script by its name, with its keys and words, and waits for nothing."""
        self._tell = tell
        self._on_end = on_end
        self._box = box
        self._generations = generations
        self._ended = False
        self.place = place
        self.token = token

    def keep(self, content: bytes, *, ttl_s: int) -> None:
        if self._ended:
            return
        sealed = self._box.seal(KIND, bound_to(self.place), content)
        if len(sealed) > SEALED_BYTES_MAX:
            log.info("answer_too_large_to_keep", account=self.place.account, bytes=len(sealed))
            self.leave()
            return
        self._end()
        words = (self.token, self._generations, ttl_s * 1000, sealed, GENERATION_MS)
        self._tell("keep", keys.of(self.place), *words)

    def leave(self) -> None:
        if not self._ended:
            self._end()
            if self.token:
                self._tell("lease", (keys.lease(self.place),), self.token, 0)

    def _end(self) -> None:
        self._ended = True
        self._on_end(self)


def bound_to(place: Place) -> str:
    """What a kept answer's seal is bound to."""
    return f"{place.scope} {place.digest}"
