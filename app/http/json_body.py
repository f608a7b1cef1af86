"""Bytes from outside → one JSON object that nothing behind the door chokes on.

One rule: what Postgres, the log or a provider could not hold is refused here with a 400. This is the only place where
a bare dict is handed on; the shapes take it from there.

A body is known by its skeleton before it is parsed: what is left of it without its texts. The parser holds the event loop
until it is done, so what would keep it busy for long never gets that far, and a large body is looked at in slices.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.http.refusals import Refused

DEPTH_MAX = 64
"""Levels of nesting. Tool schemas of real clients stay below 20; every reader behind us recurses."""

CONTAINERS_MAX = 50_000
"""Objects and arrays in one body. Two thousand messages of a few parts each are some ten thousand."""

NAMES_MAX: Final = 100_000
"""Names of fields in one body: each is a text to be kept in a dictionary, 100,000 of them 20 ms."""

VALUES_MAX: Final = 500_000
"""Values in one body. OpenAI takes 300,000 tokens as numbers in one call for embeddings; parsing so many is 5 ms."""

AT_ONCE_BYTES_MAX: Final = 256 * 1024
"""Up to here a body is looked at in one go: at worst ten milliseconds. What is larger gives way between slices of this size."""

WALKED_AT_ONCE: Final = 20_000
"""Values looked at between two pauses: some milliseconds."""

_LEVELS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))

_DEAR = (b"\\u", b" :", b"\n:", b"\r:", b"\t:")
"""Where none of these stands, every name ends in `":`, and what else ends so stays as it is when it is written again."""


async def read_body(receive: Receive, body_bytes_max: int | None = None) -> bytes:
    """The whole body of one request, read once. The shell has already put its limits around `receive`: more than it
    allows raises Refused 413 from here, too slow a client Refused 408. More than `body_bytes_max`, where the caller may
    send less than others, raises Refused 413 too.

    Raises ClientDisconnect when the client goes away before its last byte.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole = cast(bytes, message.get("body", b""))
        _bound(len(whole), body_bytes_max)
        return whole
    pieces: list[bytes] = []
    received = 0
    while message["type"] == "http.request":
        piece = message.get("body", b"")
        received += len(piece)
        _bound(received, body_bytes_max)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
        message = await receive()
    raise ClientDisconnect


def _bound(body_bytes: int, body_bytes_max: int | None) -> None:
    if body_bytes_max is not None and body_bytes > body_bytes_max:
        told = f"The body is larger than {body_bytes_max} bytes, the most that is taken here."
        raise Refused(413, "request_too_large", told)


async def parse(raw: bytes) -> dict[str, object]:
    """JSON text of any size → its object, as `parse_object` does it, giving way to others between slices of a large one."""
    if len(raw) <= AT_ONCE_BYTES_MAX:
        return parse_object(raw)
    skeleton = await _skeleton(raw)
    if skeleton.nul:
        raise _nul()
    skeleton.bound()
    parsed = _loaded(raw)
    await asyncio.sleep(0)
    if skeleton.names != await _names(parsed):
        raise _named_twice()
    return parsed


async def _names(parsed: dict[str, object]) -> int:
    """How many fields were read. To write a large body again, as `_repeats` does, would take longer than to parse it."""
    names, seen = 0, 0
    left: list[dict[str, object] | list[object]] = [parsed]
    while left:
        node = left.pop()
        seen += len(node)
        if seen > WALKED_AT_ONCE:
            seen = 0
            await asyncio.sleep(0)
        if isinstance(node, dict):
            names += len(node)
            left += [each for each in node.values() if isinstance(each, dict | list)]
        else:
            left += [each for each in node if isinstance(each, dict | list)]
    return names


async def _skeleton(raw: bytes) -> Skeleton:
    """Raises Refused as soon as there is too much of anything."""
    skeleton = Skeleton()
    for start in range(0, len(raw), AT_ONCE_BYTES_MAX):
        skeleton.add(raw[start : start + AT_ONCE_BYTES_MAX])
        await asyncio.sleep(0)
    return skeleton


def parse_object(raw: bytes) -> dict[str, object]:
    """JSON text → its object. Raises Refused 400 for anything else: no object, no JSON (NaN, Infinity, a byte order
    mark, bad UTF-8 and lone surrogates are none), a NUL in any text, more than DEPTH_MAX levels, equal names in one object:
    what is checked here must be what everybody else reads. For bodies up to AT_ONCE_BYTES_MAX; `parse` takes larger ones.
    """
    if not raw:
        raise _refuse("The body is empty; a JSON object was expected.")
    skeleton: Skeleton | None = None
    # An object cannot be deeper than it has opening brackets: most bodies need no closer look.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
        skeleton = _whole(raw)
        skeleton.bound()
    parsed = _loaded(raw)
    if b"\\u0000" in raw and (skeleton or _whole(raw)).nul:
        raise _nul()
    if _repeats(raw, parsed, skeleton):
        raise _named_twice()
    return parsed


def _loaded(raw: bytes) -> dict[str, object]:
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        # Position only: the parser's message could in time come to quote what it read.
        raise _refuse(f"The body is not valid JSON (line {fault.lineno}, column {fault.colno}).") from None
    if type(parsed) is not dict:
        raise _refuse("The body must be a JSON object.")
    return parsed


def _repeats(raw: bytes, parsed: dict[str, object], skeleton: Skeleton | None) -> bool:
    """Written again, what was read holds fewer names than the original exactly where some were equal."""
    again = orjson.dumps(parsed)
    if not any(dear in raw for dear in _DEAR):
        return raw.count(b'":') != again.count(b'":')
    return (skeleton or _whole(raw)).names != _whole(again).names


def _whole(raw: bytes) -> Skeleton:
    skeleton = Skeleton()
    skeleton.add(raw)
    return skeleton


class Skeleton:
    """What JSON text holds beside its texts, counted piece by piece.

    It is right for every text that is JSON; of what is none the parser has the last word.
    """

    __slots__ = ("_carried", "_in_text", "_levels", "_tail", "names", "nul", "values")

    def __init__(self) -> None:
        self.names = 0
        self.values = 0
        self.nul = False
        """A text holds an escaped NUL, which PostgreSQL can keep neither as text nor as jsonb."""
        self._levels: list[bytes] = []
        self._in_text = False
        self._carried = b""
        """A backslash whose other half is in the next piece."""
        self._tail = b""

    def add(self, piece: bytes) -> None:
        """Raises Refused when there is too much of anything by now."""
        # Without pairs of backslashes every other one begins an escape.
        text = (self._carried + piece).replace(b"\\\\", b"")
        self._carried = b"\\" if text.endswith(b"\\") else b""
        if self._carried:
            text = text[:-1]
        self.nul = self.nul or b"\\u0000" in self._tail + text
        self._tail = (self._tail + text)[-_ESCAPE_LESS_ONE:]
        between = text.replace(b'\\"', b"").split(b'"')
        outside = b"".join(between[1 if self._in_text else 0 :: 2])
        if len(between) % 2 == 0:
            self._in_text = not self._in_text
        self._levels.append(outside.translate(_LEVELS, _NO_BRACKET))
        self.names += outside.count(b":")
        self.values += outside.count(b",")
        if self.names > NAMES_MAX or self.values > VALUES_MAX:
            raise _refuse(f"The body holds more than {NAMES_MAX} fields, or {VALUES_MAX} values.")
        if sum(map(len, self._levels)) > 2 * CONTAINERS_MAX:
            raise _refuse(f"The body holds more than {CONTAINERS_MAX} objects and arrays.")

    def bound(self) -> None:
        """Raises Refused when it is deeper than DEPTH_MAX. What never closes is no JSON, and the parser's to tell."""
        levels = b"".join(self._levels)
        for _ in range(DEPTH_MAX):
            above = levels.replace(b"[]", b"")  # whatever holds nothing, or no more
            if len(above) == len(levels):
                return
            levels = above
        if levels:
            raise _refuse(f"The body is nested deeper than {DEPTH_MAX} levels.")


_ESCAPE_LESS_ONE: Final = len(b"\\u0000") - 1


def _nul() -> Refused:
    return _refuse("The body contains a NUL character (\\u0000), which no text may hold.")


def _named_twice() -> Refused:
    return _refuse("The body names a field twice in one object.")


def _refuse(message: str) -> Refused:
    return Refused(400, "invalid_json", message)
