"""A session in a browser: two cookies that no script reads, and the proof that a page of ours is what sends them.

One rule: a cookie counts only where neither `Authorization` nor `x-api-key` is sent, and what may change anything counts only
from our own pages: browsers say whose page asks, and who says nothing is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response

ACCESS: Final = "__Host-helix_access"
REFRESH: Final = "__Host-helix_refresh"
"""`__Host-`: over TLS (or on this very machine), for this host alone, for all of its paths; a subdomain can set neither."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Headers = Sequence[tuple[bytes, bytes]]


def cookie(headers: Headers, name: str) -> str | None:
    """The cookie of that name. None also where it comes twice: one of the two is somebody else's."""
    found: list[str] = []
    for key, value in headers:
        if key == b"cookie":
            for part in value.decode("latin-1").split(";"):
                told, equals, content = part.strip().partition("=")
                if equals and told == name:
                    found.append(content)
    return found[0] if len(found) == 1 else None


def from_our_page(method: str, headers: Headers, public_url: str) -> bool:
    """Whether a request that brings cookies comes from a page of this host, or changes nothing."""
    return method in _SAFE or same_origin(headers, public_url)


def same_origin(headers: Headers, public_url: str) -> bool:
    """Every browser of the last years says `Sec-Fetch-Site`; older ones say `Origin` wherever it matters."""
    told = {name: value.decode("latin-1") for name, value in headers if name in _TELLING}
    if (site := told.get(b"sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = told.get(b"origin")
    if origin is None:
        return False
    ours = urlsplit(public_url)
    return origin == f"{ours.scheme}://{ours.netloc}" or origin.partition("://")[2] == told.get(b"host")


_TELLING: Final = frozenset({b"sec-fetch-site", b"origin", b"host"})


def give(answer: Response, access: str, access_s: int, refresh: str, until: datetime) -> None:
    _set(answer, ACCESS, access, access_s)
    _set(answer, REFRESH, refresh, until)


def take_back(answer: Response) -> None:
    for name in (ACCESS, REFRESH):
        answer.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def _set(answer: Response, name: str, value: str, end: int | datetime) -> None:
    answer.set_cookie(
        name,
        value,
        max_age=end if isinstance(end, int) else None,
        expires=end if isinstance(end, datetime) else None,
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )
