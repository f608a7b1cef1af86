"""The worker's voice: deltas of every request in flight, merged and sent in one write a flush.

The first delta of an answer is never held back; the later ones wait at most FLUSH_S. An entry and a frame for each
chunk would cost eight times as much (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import orjson

from app.log.connection import LogGone, LogRefused, Reply
from app.log.log import Log, Owned
from handlers.ports import Box
from handlers.rules.catalogue import Offer

FLUSH_S: Final = 0.03
"""How long a delta may wait for company: below what a reader of moving text notices."""

RESEND_S: Final = 0.2
"""Pause before frames that the log server did not take are sent again."""


class Speaker:
    """All voices of one process. `on_flush` is told how many frames each flush merged."""

    def __init__(self, log: Log, on_flush: Callable[[int], None]) -> None:
        self._log = log
        self._on_flush = on_flush
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Voice, None] = {}

    def voice(self, owned: Owned, box: Box) -> Voice:
        """The voice of one attempt."""
        return Voice(self, self._log, owned, box)

    def _later(self, voice: Voice) -> None:
        if not self._waiting:
            self._loop.call_later(FLUSH_S, self._flush)
        self._waiting[voice] = None

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for voice in waiting:
            voice.flush()


class Voice:
    """What one attempt says, in numbered frames. A frame stays here until the log server has it."""

    def __init__(self, speaker: Speaker, log: Log, owned: Owned, box: Box) -> None:
        self._speaker = speaker
        self._log = log
        self._owned = owned
        self._box = box
        self._said: list[bytes] = []
        self._unsettled: dict[int, tuple[bytes, bytes]] = {}
        self._resending = False
        self._settled: asyncio.Event | None = None
        self.number = 0
        """The number of the last frame."""
        self.meta = b""
        """Who answers, told with the first frame."""

    def asked(self, offer: Offer, attempt: int) -> None:
        """Remember who answers; the first frame tells it."""
        self.meta = orjson.dumps({"provider": offer.provider, "model": offer.model, "attempts": attempt})

    def say(self, piece: bytes) -> None:
        """Pass a piece of the answer on."""
        self._said.append(piece)
        if self.number == 0:
            self.flush()
        elif len(self._said) == 1:
            self._speaker._later(self)

    def flush(self) -> None:
        """Send what has been said since the last flush."""
        if not self._said:
            return
        self._speaker._on_flush(len(self._said))
        self.number += 1
        sealed = self._box.seal("frame", self._owned.request, b"".join(self._said))
        self._said.clear()
        frame = self._unsettled[self.number] = sealed, self.meta if self.number == 1 else b""
        if not self._resending:
            self._send(self.number, *frame)

    async def settled(self) -> None:
        """Wait until the log server has every frame."""
        self.flush()
        while self._unsettled:
            self._settled = asyncio.Event()
            await self._settled.wait()

    def _send(self, number: int, sealed: bytes, meta: bytes) -> None:
        *others, last = self._log.tell(self._owned, number, sealed, meta)
        for other in others:
            other.add_done_callback(_seen)
        last.add_done_callback(lambda sent: self._sent(number, sent))

    def _sent(self, number: int, sent: asyncio.Future[Reply]) -> None:
        if not sent.cancelled() and sent.exception() is None:
            self._unsettled.pop(number, None)
            if self._settled and not self._unsettled:
                self._settled.set()
        elif not self._resending:
            self._resending = True
            self._speaker._loop.call_later(RESEND_S, self._resend)

    def _resend(self) -> None:
        """Again from the first frame that is not surely there; a listener skips a number it has heard."""
        self._resending = False
        for number, frame in list(self._unsettled.items()):
            self._send(number, *frame)


def _seen(future: asyncio.Future[Reply]) -> None:
    """The last command of a frame tells of the outage that also befell the others."""
    if not future.cancelled() and not isinstance(future.exception(), (LogGone, LogRefused, type(None))):
        future.result()
