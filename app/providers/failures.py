"""Which kind of failure a provider's refusal is: a table over its status and the words in its body.

One rule: nothing that a provider sends, however odd, raises anything but the failure it stands for.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson

from handlers.ports import ProviderFailed
from handlers.rules.failure import FailureKind

MESSAGE_CHARACTERS_MAX = 2_000
"""Of a provider's own words: more than any message meant for people."""

_BY_STATUS: dict[int, FailureKind] = {
    400: "bad_request",
    401: "auth",
    402: "auth",  # our account with the provider is empty: nothing the client can mend
    403: "auth",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    409: "overloaded",
    410: "not_found",
    413: "bad_request",
    415: "bad_request",
    422: "bad_request",
    425: "overloaded",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}

_BY_WORD: dict[str, FailureKind] = {
    # OpenAI's codes and types, which the compatible servers share
    "context_length_exceeded": "context_overflow",
    "string_above_max_length": "context_overflow",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "model_not_found": "not_found",
    "invalid_api_key": "auth",
    "insufficient_quota": "auth",
    "billing_hard_limit_reached": "auth",
    "rate_limit_exceeded": "rate_limited",
    "invalid_request_error": "bad_request",
    "server_error": "server_error",
    # Anthropic's types
    "authentication_error": "auth",
    "billing_error": "auth",
    "permission_error": "auth",
    "not_found_error": "not_found",
    "request_too_large": "bad_request",
    "rate_limit_error": "rate_limited",
    "timeout_error": "timeout",
    "api_error": "server_error",
    "overloaded_error": "overloaded",
}

_CERTAIN: frozenset[FailureKind] = frozenset({"context_overflow", "content_policy"})
"""Kinds that a word alone decides, against the status."""

_OVERFLOW_PHRASES = ("maximum context length", "prompt is too long", "context window", "context length")
"""How servers without a code for it say that the question is too long."""


def failure_of(status: int, body: bytes, retry_after: str | None = None) -> ProviderFailed:
    """(HTTP status, body, Retry-After header) → the failure. With status 200 the body's own words decide."""
    error = error_in(body)
    kind, message, code, param = _kind(status, error)
    return ProviderFailed(
        kind,
        message,
        status=status,
        code=code,
        param=param,
        retry_after_s=seconds_of(retry_after),
    )


def failure_in(error: object, status: int = 200) -> ProviderFailed:
    """The failure that an error object inside a stream or a 200 stands for."""
    kind, message, code, param = _kind(status, error)
    return ProviderFailed(kind, message, status=status, code=code, param=param)


def error_in(body: bytes) -> object:
    """The `error` member of a JSON body, in whatever shape it is; None where there is none."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(said, list) and said:
        said = said[0]  # Google's compatible routes wrap the object in a list
    if not isinstance(said, dict):
        return None
    return said.get("error") or said.get("detail") or said.get("message")


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from now; None where it makes no sense."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # a date without a zone cannot be compared
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _kind(status: int, error: object) -> tuple[FailureKind, str, str | None, str | None]:
    fields = error if isinstance(error, dict) else {}
    message = _text(fields.get("message")) or (_text(error) if isinstance(error, str) else "")
    words = [word for word in (_text(fields.get("code")), _text(fields.get("type"))) if word]
    by_word = next((_BY_WORD[word] for word in words if word in _BY_WORD), None)
    if any(phrase in message.lower() for phrase in _OVERFLOW_PHRASES) and (status in (200, 400, 413, 422)):
        by_word = "context_overflow"
    if status == 200:
        number = fields.get("code")
        by_number = _of_status(number) if isinstance(number, int) and 400 <= number < 600 else "server_error"
        kind = by_word or by_number
    elif by_word in _CERTAIN or (by_word == "auth" and status == 429):
        kind = by_word  # a 429 for an empty account does not pass with time
    else:
        kind = _of_status(status)
    param = _text(fields.get("param")) or None
    return kind, message or "The provider gave no reason.", words[0] if words else None, param


def _of_status(status: int) -> FailureKind:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return "server_error"
    return "bad_request" if status >= 400 else "garbled"


def _text(value: object) -> str:
    """A provider's word as clean text of bounded length."""
    return value[:MESSAGE_CHARACTERS_MAX].replace("\x00", "\ufffd") if isinstance(value, str) else ""
