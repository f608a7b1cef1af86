"""What an error looks like on each wire: one table of names, and the body that an SDK raises its right exception from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from events.completions import Wire

_ANTHROPIC_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""HTTP status → Anthropic's type; what is not here is `invalid_request_error` below 500 and `api_error` from 500 on."""


def status_on(wire: Wire, status: int) -> int:
    """The status as the wire has it: what is overloaded is a 529 at Anthropic's, a 503 everywhere else."""
    return 529 if wire == "anthropic" and status == 503 else status


def error_body(
    wire: Wire, *, status: int, message: str, type: str, code: str | None, param: str | None, request: str
) -> bytes:
    """The error as the wire's JSON object. `type`, `code` and `param` are OpenAI's; Anthropic's type follows from the
    status."""
    if wire == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status_on(wire, status), "invalid_request_error" if status < 500 else "api_error")
        return json.dumps(
            {"type": "error", "error": {"type": kind, "message": message}, "request_id": request}
        ).encode()
    return json.dumps({"error": {"message": message, "type": type, "param": param, "code": code}}).encode()
