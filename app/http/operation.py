"""What is said of a route that the outside may call: the shape of a row of `operations`.

The rows of a topic stand beside its door, or in a file of their own (`operations_<topic>`), and `operations` gathers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel

from app.http.answers import ErrorBody
from handlers.rules.roles import Action

Where = Literal["path", "query", "header"]
Kind = Literal["string", "integer", "boolean"]


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    where: Where
    meaning: str
    kind: Kind = "string"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    meaning: str
    shape: type[BaseModel] | None = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Operation:
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    group: str
    title: str
    about: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    example: str = ""
    """A body to try, or the query of a GET."""
    streams: bool = False
    """May answer with server-sent events instead."""
    action: Action | None = field(kw_only=True)
    """What it does, and so which scope and role it needs (`handlers.rules.roles`); None: no key at all."""

    @property
    def needs_key(self) -> bool:
        return self.action is not None


_REFUSALS: Final = {
    400: "The body or a parameter is wrong; `param` names it.",
    401: "No key, or one that opens nothing.",
    402: "The account has nothing left to spend.",
    403: "The key or the role may not do this.",
    404: "There is no such thing, or it belongs to somebody else.",
    409: "It is not in a state for this.",
    413: "It is larger than this route takes.",
    422: "The idempotency key was used with another body.",
    429: "Too many; `Retry-After` says when.",
    501: "This Helix is not set up for it.",
    503: "Not now; `Retry-After` says when.",
    529: "Not now; `Retry-After` says when.",
}


def refusals(*statuses: int, shape: type[BaseModel] = ErrorBody) -> dict[int, Answer]:
    """The answers with which a route refuses."""
    return {status: Answer(_REFUSALS[status], shape) for status in statuses}
