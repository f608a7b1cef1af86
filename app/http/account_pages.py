"""`/account/…`: the pages that mailed links lead to. One rule: a link does nothing by being opened, for programs open links too.

They load nothing: style and script stand within them, and their policy allows these two and the doors of this host.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app.http.operation import Answer, Operation

_STATIC: Final = Path(__file__).parent / "static"
_STYLE: Final = (_STATIC / "docs.css").read_text()
_SCRIPT: Final = (_STATIC / "account.js").read_text()


def _named(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_HEADERS: Final = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src {_named(_STYLE)}",
            f"script-src {_named(_SCRIPT)}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Page:
    path: str
    title: str
    about: str
    door: str
    """What it is sent to."""
    done: str
    button: str
    field: str = ""
    """HTML of what is typed in, beside the token."""
    token: bool = True
    signs_in: bool = False
    """Sign in with what is typed in, do it as this person, and sign out."""


PAGES: Final = (
    Page(
        "/account/verify",
        "Confirm your e-mail address",
        "You have been sent a link to this page. To confirm that you read mail at this address, press the button.",
        "/v1/auth/verify",
        "Your address is confirmed. You can sign in now.",
        "Confirm",
    ),
    Page(
        "/account/reset",
        "Choose a new password",
        "Every session of yours will be signed out.",
        "/v1/auth/reset",
        "Your new password holds. You can sign in now.",
        "Save",
        '<label>New password <input name="password" type="password" autocomplete="new-password" required '
        'minlength="10" maxlength="256"></label>',
    ),
    Page(
        "/account/forgot",
        "A new password",
        "We mail you a link with which you can choose one.",
        "/v1/auth/forgot",
        "If there is an account with this address, a mail is on its way.",
        "Send",
        '<label>E-mail address <input name="email" type="email" autocomplete="email" required maxlength="254"></label>',
        token=False,
    ),
    Page(
        "/account/join",
        "Join a team",
        "You have been invited. Sign in as the person whose address the invitation was sent to.",
        "/v1/invitations/accept",
        "You belong to the team now.",
        "Join",
        '<label>E-mail address <input name="email" type="email" autocomplete="email" required maxlength="254"></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password" required '
        'maxlength="256"></label>',
        signs_in=True,
    ),
)

OPERATIONS: Final = tuple(
    Operation(
        "GET",
        page.path,
        "People",
        page.title,
        f"A page for people; it sends what is typed in to `{page.door}`.",
        {200: Answer("The page.", media="text/html")},
        action=None,
    )
    for page in PAGES
)


def routes() -> list[Route]:
    return [Route(page.path, _shows(page), methods=["GET"]) for page in PAGES]


def _shows(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        return HTMLResponse(html(page), headers=_HEADERS)

    return show


@cache
def html(page: Page) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(page.title)} · Helix</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{escape(page.title)}</h1><p>{escape(page.about)}</p>"
        f'<form data-door="{page.door}" data-done="{escape(page.done)}" data-token="{_yes(page.token)}" '
        f'data-signs-in="{_yes(page.signs_in)}">'
        f"{page.field} <button>{escape(page.button)}</button></form><p><output></output></p>"
        f"<noscript><p>This page needs JavaScript; the same is done by a POST to <code>{page.door}</code>.</p></noscript>"
        f"</main><script>{_SCRIPT}</script></body></html>"
    )


def _yes(true: bool) -> str:
    return "yes" if true else "no"
