"""How a route words what is not the provider's own: pings, the end of a stream, an error in the middle of one.

One rule: a frame of the worker passes through here untouched; only what stands around the frames is said by a dialect.
"""

from __future__ import annotations

from typing import Final, Protocol

from app.live.last_word import LastWord
from events.completions import Wire

Header = tuple[bytes, bytes]

COMMENT: Final = b": ping\n\n"
"""A comment: every SSE client passes it by."""

DONE: Final = b"data: [DONE]\n\n"
"""The last line of every stream of OpenAI's chat completions."""


class Dialect(Protocol):
    """What one client is told around the frames. `request` is the id of the request it hears of in the end, which may be
    an earlier one with the same meaning."""

    wire: Wire
    ping: bytes
    """What keeps a silent stream awake."""
    closing_needs_answer: bool
    """Whether `closing` repeats the whole answer."""

    def headers(self, request: str) -> tuple[Header, ...]:
        """Headers that this wire alone has."""
        ...

    def whole(self, request: str, answer: bytes, meta: LastWord) -> bytes:
        """A completed answer as this route gives it."""
        ...

    def retold(self, request: str, answer: bytes) -> bytes:
        """A completed answer of which there are no frames, as the frames of a stream, without the closing event."""
        ...

    def closing(self, request: str, answer: bytes, meta: LastWord, events: int) -> bytes:
        """The closing event of a stream that ended well. `answer` is empty where it is not needed; `events` counts what
        this stream has said so far."""
        ...

    def broken(self, request: str, error: bytes, meta: LastWord, events: int) -> bytes:
        """What a stream that has begun ends with when it does not end well. `error` is the wire's error object."""
        ...


def event(name: str, data: bytes) -> bytes:
    """One server-sent event with its name."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
