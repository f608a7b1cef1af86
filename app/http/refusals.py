"""What the door says when it will not do what was asked: one exception, and its form on the wire.

One rule: a refusal never repeats a key or the words of a prompt; it names the field and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from starlette.responses import Response

from events.completions import Wire
from handlers.rules.errors import error_body, status_on

_NOTHING: Mapping[str, str] = MappingProxyType({})

RETRY_AFTER_S = 1
"""What a busy server asks for when nobody knows better: the pause that the SDKs would begin with anyway."""

MENDS_NEVER = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes that a retry cannot mend, whatever the status says."""

_TYPES: Mapping[int, str] = MappingProxyType({402: "insufficient_quota", 429: "requests"})
"""Where OpenAI's `type` is another than `invalid_request_error` below 500 and `server_error` from 500 on."""

_CODES: Mapping[int, str] = MappingProxyType(
    {401: "invalid_api_key", 402: "insufficient_quota", 404: "not_found", 429: "rate_limit_exceeded"}
)


class Refused(Exception):
    """Shown to the client, and nothing else is: status, code, message. Mapped to the wire once, by the shell.

    `type` and `code` default to what OpenAI sends with the status; `param` names the field, such as
    `messages[0].role`. A 429 or 503 without a `Retry-After` header gets one.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] = _NOTHING,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code if code is not None else _CODES.get(status)
        self.message = message
        self.type = type or _type(status, self.code)
        self.param = param
        self.headers = headers


def _type(status: int, code: str | None) -> str:
    if code in MENDS_NEVER:
        return "insufficient_quota"
    return _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def retry_after(seconds: float) -> dict[str, str]:
    """How long to wait, in both spellings: whole seconds rounded up for everyone, milliseconds for the OpenAI SDKs."""
    whole_ms = max(1, round(seconds * 1000))
    return {"retry-after": str(-(-whole_ms // 1000)), "retry-after-ms": str(whole_ms)}


def wire_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Wire:
    """In whose shape this path's refusals are: Anthropic's clients know their own alone."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return "anthropic"
    if path.startswith("/v1/models") and any(name == b"anthropic-version" for name, _ in headers):
        return "anthropic"
    return "openai"


def body(refused: Refused, wire: Wire, request_id: str) -> bytes:
    """The refusal as the wire's error object: an answer's body, or the last frame of a broken stream."""
    return error_body(
        wire,
        status=refused.status,
        message=refused.message,
        type=refused.type,
        code=refused.code,
        param=refused.param,
        request=request_id,
    )


def headers(refused: Refused, request_id: str) -> dict[str, str]:
    """The refusal's own headers in small letters, with what its status promises added."""
    said = {name.lower(): value for name, value in refused.headers.items()}
    said["x-request-id"] = request_id
    if refused.status == 402 or refused.code in MENDS_NEVER:
        said.setdefault("x-should-retry", "false")
    elif refused.status in (429, 503) and "retry-after" not in said:
        said.update(retry_after(RETRY_AFTER_S))
    if "retry-after" in said and "retry-after-ms" not in said and said["retry-after"].isdecimal():
        said["retry-after-ms"] = f"{said['retry-after']}000"
    if refused.status == 401:
        said.setdefault("www-authenticate", "Bearer")
    return said


def response(refused: Refused, request_id: str, wire: Wire = "openai") -> Response:
    """The refusal as an answer in the wire's shape."""
    told = headers(refused, request_id)
    if wire == "anthropic":
        told["request-id"] = request_id
    return Response(
        body(refused, wire, request_id),
        status_on(wire, refused.status),
        headers=told,
        media_type="application/json",
    )
