"""The worker's voice: deltas of every request in flight, merged and sent in one write a flush.

The first delta of an answer is never held back; the later ones wait FLUSH_S, or longer where there is much to say. An
entry and a frame for each chunk would cost eight times as much (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import orjson
import structlog

from app.log.connection import Reply
from app.log.log import Log
from app.log.values import Owned
from handlers.ports import Box
from handlers.rules.catalogue import Offer

log = structlog.get_logger()

FLUSH_S: Final = 0.03
"""How long a delta waits for company: below what a reader of moving text notices."""

FLUSH_S_MAX: Final = 0.12
"""How long it may wait in a worker that has much to say: text still moves."""

REST: Final = 5
"""A flush is followed by so many times its own length without one: who has much to say says it in larger pieces, and the
loop stays free for what comes in."""

FRAME_BYTES: Final = 32 * 1024
"""A frame ends with the piece that reaches this, and a larger piece is cut at the ends of its events: what is told in a burst
must not lie in one lump in front of every client that reads slowly."""

_EVENT_END: Final = b"\n\n"

RESEND_S: Final = 0.2
"""Pause before frames that the log server did not take are sent again."""


def pause_s(flush_s: float) -> float:
    """How long deltas gather after a flush that took so long."""
    return min(max(FLUSH_S, REST * flush_s), FLUSH_S_MAX)


def cut(piece: bytes) -> list[bytes]:
    """The same in pieces of whole events, each below FRAME_BYTES where its first event is."""
    pieces: list[bytes] = []
    start = 0
    while len(piece) - start > FRAME_BYTES:
        end = piece.rfind(_EVENT_END, start, start + FRAME_BYTES)
        if end < 0:
            end = piece.find(_EVENT_END, start + FRAME_BYTES - 1)
        if end < 0:
            break
        pieces.append(piece[start : end + len(_EVENT_END)])
        start = end + len(_EVENT_END)
    return [*pieces, piece[start:]] if start < len(piece) else pieces


class Speaker:
    """All voices of one process. `on_flush` is told how many frames each flush merged."""

    def __init__(self, log: Log, on_flush: Callable[[int], None]) -> None:
        self._log = log
        self._on_flush = on_flush
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Voice, None] = {}
        self._pause_s = FLUSH_S

    def voice(self, owned: Owned, box: Box) -> Voice:
        """The voice of one attempt."""
        return Voice(self, self._log, owned, box)

    def _later(self, voice: Voice) -> None:
        if not self._waiting:
            self._loop.call_later(self._pause_s, self._flush)
        self._waiting[voice] = None

    def _flush(self) -> None:
        began = self._loop.time()
        waiting, self._waiting = self._waiting, {}
        for voice in waiting:
            voice.flush()
        self._pause_s = pause_s(self._loop.time() - began)


class Voice:
    """What one attempt says, in numbered frames.

    One frame at a time is on its way, and it stays here until the log server has it; what is said meanwhile goes with
    the next. So frames lie on the live stream in their order, without a gap, whatever the server does.
    """

    def __init__(self, speaker: Speaker, log: Log, owned: Owned, box: Box) -> None:
        self._speaker = speaker
        self._log = log
        self._owned = owned
        self._box = box
        self._said: list[bytes] = []
        self._on_its_way: tuple[bytes, bytes] | None = None
        self._due = False
        """A flush has found the last frame still on its way."""
        self._settled: asyncio.Event | None = None
        self._failed = False
        self.number = 0
        """The number of the last frame."""
        self.meta = b""
        """Who answers, told with the first frame."""

    def asked(self, offer: Offer, attempt: int) -> None:
        """Remember who answers; the first frame tells it."""
        self.meta = orjson.dumps({"provider": offer.provider, "model": offer.model, "attempts": attempt})

    def say(self, piece: bytes) -> None:
        """Pass a piece of the answer on: one event or more, each whole."""
        waited = bool(self._said)
        self._said += (piece,) if len(piece) <= FRAME_BYTES else cut(piece)
        if self.number == 0:
            self.flush()
        elif not waited:
            self._speaker._later(self)

    def flush(self) -> None:
        """Send what has been said since the last flush, as soon as the frame before has arrived."""
        if not self._said:
            return
        if self._on_its_way:
            self._due = True
            return
        said = self._next_frame()
        self._due = bool(self._said)  # the rest follows at once
        self._speaker._on_flush(len(said))
        self.number += 1
        sealed = self._box.seal("frame", self._owned.request, b"".join(said))
        self._on_its_way = sealed, self.meta if self.number == 1 else b""
        self._send()

    def _next_frame(self) -> list[bytes]:
        """What has been said, or as much of it as one frame holds."""
        frame_bytes = 0
        for count, piece in enumerate(self._said, 1):
            frame_bytes += len(piece)
            if frame_bytes >= FRAME_BYTES:
                said, self._said = self._said[:count], self._said[count:]
                return said
        said, self._said = self._said, []
        return said

    async def settled(self) -> None:
        """Wait until the log server has every frame: as long as it is away, or refuses them."""
        self.flush()
        while self._on_its_way:
            self._settled = asyncio.Event()
            await self._settled.wait()

    def _send(self) -> None:
        assert self._on_its_way
        sent = self._log.tell(self._owned, self.number, *self._on_its_way)
        sent[-1].add_done_callback(lambda _: self._sent(sent))  # replies come in order: by then all are there

    def _sent(self, sent: Sequence[asyncio.Future[Reply]]) -> None:
        failures = [failure for failure in map(_failure, sent) if failure]
        if failures:
            if not self._failed:
                self._failed = True
                log.warning("frame_not_taken", request_id=self._owned.request, reason=str(failures[0])[:100])
            # The same number again; a listener skips the one it has heard already.
            self._speaker._loop.call_later(RESEND_S, self._send)
            return
        self._on_its_way = None
        if self._due:
            self._due = False
            self.flush()
        if self._settled and not self._on_its_way:
            self._settled.set()


def _failure(sent: asyncio.Future[Reply]) -> BaseException | None:
    return asyncio.CancelledError() if sent.cancelled() else sent.exception()
