"""Server-sent events, split as they come.

One rule: however the bytes are cut into reads, the same events come out, and what is not yet whole waits.
"""

from __future__ import annotations

from typing import NamedTuple

from handlers.ports import ProviderFailed

EVENT_BYTES_MAX = 4 * 1024 * 1024
"""One event: a picture in base64 fits; more than that without an end is no event."""


class Heard(NamedTuple):
    """The events that one read completed."""

    payloads: list[bytes]
    """The data of each event that has any, in order."""
    block: bytes | None
    """The same events as they came, whole, when they may be sent on as they are: nothing but one `data:` line each.
    None when something else stands between them (a comment, an id, data of several lines)."""


class EventReader:
    """Bytes in, whole events out; one for each stream."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    @property
    def unfinished(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._tail.strip())

    def feed(self, piece: bytes) -> Heard:
        """Raises ProviderFailed where an event grows beyond all measure."""
        data = self._tail + piece if self._tail else piece
        held = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # the line feed that belongs to it may come with the next read
                data, held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            self._tail = data + held
            if len(self._tail) > EVENT_BYTES_MAX:
                self._tail = b""
                raise ProviderFailed("garbled", "The provider sent an event that is too long.", status=200)
            return _NOTHING
        block = data if end == len(data) else data[:end]
        self._tail = data[end:] + held
        payloads: list[bytes] = []
        plain = True
        for event in block[:-2].split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                payloads.append(event[6:])
            else:
                plain = False
                if (payload := _data(event)) is not None:
                    payloads.append(payload)
        return Heard(payloads, block if plain else None)


_NOTHING = Heard([], None)


def _data(event: bytes) -> bytes | None:
    """The data of an event of any shape; None where it has none."""
    lines = []
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if value.startswith(b" ") else value)
    return b"\n".join(lines) if lines else None
