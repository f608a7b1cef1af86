"""Bytes from outside → one JSON object that nothing behind the door chokes on.

One rule: what Postgres, the log or a provider could not hold is refused here with a 400. This is the only place where
a bare dict is handed on; the shapes take it from there.
"""

from __future__ import annotations

import re
from typing import cast

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.http.refusals import Refused

DEPTH_MAX = 64
"""Levels of nesting. Tool schemas of real clients stay below 20; every reader behind us recurses."""

CONTAINERS_MAX = 50_000
"""Objects and arrays in one body: what walks over them later stays below some tens of milliseconds."""

Container = dict[str, object] | list[object]
_CONTAINERS = frozenset((dict, list))

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL: an odd number of backslashes before `u0000`. PostgreSQL can keep it neither as text nor as jsonb."""

NAMES_COUNTED_BYTES_MAX = 256 * 1024
"""A larger body is counted only the quick way: the exact one takes up to 70 ms for each megabyte of quotation marks."""

_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"([ \t\r\n]*+:)?', re.DOTALL)
"""A whole text, and the colon that makes it a name."""
_DEAR = (b"\\u", b" :", b"\n:", b"\r:", b"\t:")
"""Where none of these stands, every name ends in `":`, and what else ends so stays as it is when it is written again."""


async def read_body(receive: Receive) -> bytes:
    """The whole body of one request, read once. The shell has already put its limits around `receive`: more than it
    allows raises Refused 413 from here, too slow a client Refused 408.

    Raises ClientDisconnect when the client goes away before its last byte.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return cast(bytes, message.get("body", b""))
    pieces: list[bytes] = []
    while message["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)
        message = await receive()
    raise ClientDisconnect


def parse_object(raw: bytes) -> dict[str, object]:
    """JSON text → its object. Raises Refused 400 for anything else: no object, no JSON (NaN, Infinity, a byte order
    mark, bad UTF-8 and lone surrogates are none), a NUL in any text, more than DEPTH_MAX levels, equal names in one object:
    what is checked here must be what everybody else reads.
    """
    if not raw:
        raise _refuse("The body is empty; a JSON object was expected.")
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        # Position only: the parser's message could in time come to quote what it read.
        raise _refuse(f"The body is not valid JSON (line {fault.lineno}, column {fault.colno}).") from None
    if type(parsed) is not dict:
        raise _refuse("The body must be a JSON object.")
    if b"\\u0000" in raw and _NUL.search(raw):
        raise _refuse("The body contains a NUL character (\\u0000), which no text may hold.")
    # An object cannot be deeper than it has opening brackets: most bodies need no walk.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
        _walk(parsed)
    if _repeats(raw, parsed):
        raise _refuse("The body names a field twice in one object.")
    return parsed


def _repeats(raw: bytes, parsed: dict[str, object]) -> bool:
    """Written again, what was read holds fewer names than the original exactly where some were equal.

    False too for a body over NAMES_COUNTED_BYTES_MAX that only the exact way could tell of: the last of equal names
    counts then, for every reader behind us reads what was read here.
    """
    again = orjson.dumps(parsed)
    if not any(dear in raw for dear in _DEAR):
        return raw.count(b'":') != again.count(b'":')
    return len(raw) <= NAMES_COUNTED_BYTES_MAX and _names(raw) != _names(again)


def _names(text: bytes) -> int:
    return sum(1 for colon in _TEXT.findall(text) if colon)


def _walk(root: dict[str, object]) -> None:
    """Level by level, without recursion."""
    level: list[Container] = [root]
    seen = 0
    for _ in range(DEPTH_MAX):
        below: list[Container] = []
        for node in level:
            children = node.values() if type(node) is dict else node
            below += [child for child in children if type(child) in _CONTAINERS]  # type: ignore[misc]  # just asked
            if seen + len(below) > CONTAINERS_MAX:
                raise _refuse(f"The body holds more than {CONTAINERS_MAX} objects and arrays.")
        if not below:
            return
        seen += len(below)
        level = below
    raise _refuse(f"The body is nested deeper than {DEPTH_MAX} levels.")


def _refuse(message: str) -> Refused:
    return Refused(400, "invalid_json", message)
