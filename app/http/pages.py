"""`/privacy`, `/terms`, `/dpa`, `/cookies`: what the operator says to people, from files that he can replace.

One rule: what comes with Helix is a template and says so on the page. Files in HELIX_PAGES, HTML as well, stand in its place.
They are read when the process starts, and each names its version on its first line: `<!-- version: 2026-11-23 -->`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app.http.operation import Answer, Operation

Document = Literal["privacy", "terms", "dpa", "cookies"]

DOCUMENTS: Final[tuple[Document, ...]] = get_args(Document)

_STATIC: Final = Path(__file__).parent / "static"
_STYLE: Final = (_STATIC / "pages.css").read_text()
_TITLES: Final[dict[Document, str]] = {
    "privacy": "Privacy policy",
    "terms": "Terms of service",
    "dpa": "Data-processing agreement",
    "cookies": "Cookies",
}
_VERSION: Final = re.compile(r"<!-- version: ([0-9A-Za-z.-]{1,32}) -->")

_HEADERS: Final = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Page:
    version: str
    """What people agree to when they agree."""
    html: str


def load(directory: Path | None) -> dict[Document, Page]:
    """The pages of this installation. Raises ValueError with one line for a file that cannot be read or names no version."""
    return {document: _load(document, directory) for document in DOCUMENTS}


def _load(document: Document, directory: Path | None) -> Page:
    own = None if directory is None else directory / f"{document}.html"
    file = own if own is not None and own.is_file() else _STATIC / "pages" / f"{document}.html"
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"HELIX_PAGES: {file.name} cannot be read: {type(fault).__name__}") from None
    found = _VERSION.match(text)
    if found is None:
        raise ValueError(f"HELIX_PAGES: {file.name} does not begin with `<!-- version: … -->`")
    links = "".join(f'<a href="/{name}">{title}</a>' for name, title in _TITLES.items())
    return Page(
        found[1],
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_TITLES[document]}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><nav>{links}</nav>{text}<p>Version {found[1]}</p></body></html>",
    )


class Pages:
    def __init__(self, directory: Path | None) -> None:
        self._pages = load(directory)

    def routes(self) -> list[Route]:
        return [Route(f"/{document}", _showing(page), methods=["GET"]) for document, page in self._pages.items()]


def _showing(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        return HTMLResponse(page.html, headers=_HEADERS)

    return show


OPERATIONS: Final = tuple(
    Operation(
        "GET",
        f"/{document}",
        "Pages",
        title,
        "A page for people. What comes with Helix is a template; the operator puts his own in its place.",
        {200: Answer("The page.", media="text/html")},
        action=None,
    )
    for document, title in _TITLES.items()
)
