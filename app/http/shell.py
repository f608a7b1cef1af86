"""What stands around every route: an id, limits, one log line, two metrics, and every failure in its wire format.

Pure ASGI, around the router itself:  `Shell(Router(routes, redirect_slashes=False, lifespan=…))`.

One rule: nothing that a client sends gets past it unmeasured, and nothing that goes wrong gets past it unworded. A route
raises Refused and is done; it may put its own `request_id` and the `account` into `scope["state"]`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol, cast

import structlog
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import telemetry
from app.http.headers import PAGE, Cors, opened, with_safe
from app.http.refusals import Refused, response, wire_of
from app.ids import request_id as new_request_id

log = structlog.get_logger()

HEADERS_MAX: Final = 100
"""Browsers and SDKs send below 30; each one costs every layer behind us."""
HEADER_BYTES_MAX: Final = 32 * 1024
"""Names and values together; the largest honest ones are cookies of 4 kB and tokens of 8 kB."""
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""A conversation with a few images as base64. A provider takes no more than about 20 MB itself."""
BODY_S_MAX: Final = 30.0
"""The whole body, whatever its size."""
BODY_GRACE_S: Final = 8.0
"""What a body may take however small it is; from then on it must have kept up BODY_BYTES_PER_S_MIN."""
BODY_BYTES_PER_S_MIN: Final = 1024
"""Slower than any modem: only who wants to hold a connection sends so slowly."""
LINGER_S_MAX: Final = 5.0
"""How long we go on discarding a refused body so that the client gets to read why."""
REQUESTS_MAX: Final = 20_000
"""Requests in one process at once; above it memory would refuse for us, without a word."""

CLIENT_GONE: Final = 499
"""nginx's number for a client that did not wait; it stands in logs and metrics and is never sent."""
UNMATCHED: Final = "unmatched"
"""The endpoint label of every path that no route has: paths are the client's words, and endless."""

State = dict[str, object]
_CLOSED: Final = Cors()


def request_id(scope: Scope) -> str:
    """The id of the request of this scope, as the client is told it."""
    return cast(str, scope["state"]["request_id"])


class Shell:
    """The ASGI application that the server calls."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
        body_s_max: float = BODY_S_MAX,
        body_grace_s: float = BODY_GRACE_S,
        requests_max: int = REQUESTS_MAX,
        cors: Cors = _CLOSED,
    ) -> None:
        self.app = app
        self.body_bytes_max = body_bytes_max
        self.body_s_max = body_s_max
        self.body_grace_s = body_grace_s
        self.requests_max = requests_max
        self.cors = cors
        self.in_flight = 0
        self.on_forbidden: Callable[[Scope, str], None] | None = None
        """Told of each 403, with its code."""
        self._metrics: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The router tells what it does not know by HTTPException only within an `app`.
        scope.setdefault("app", self)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        state: State = scope.setdefault("state", {})
        state["request_id"] = new_request_id()
        answer = _Answer(send, state, self.cors.opens(scope["headers"]))
        body: _Body | None = None
        self.in_flight += 1
        telemetry.IN_FLIGHT.inc()
        try:
            if self.in_flight > self.requests_max:
                raise Refused(503, "overloaded", "The server is at its limit; try again in a moment.")
            declared = self._admit(scope)
            if declared is not None:
                receive = body = _Body(receive, self, declared)
            allowed = self.cors.preflight(scope["method"], scope["headers"])
            if allowed is not None:
                await answer({"type": "http.response.start", "status": 204, "headers": allowed})
                await answer({"type": "http.response.body", "body": b""})
                return
            await self.app(scope, receive, answer)
        except Refused as refused:
            if refused.status == 403 and self.on_forbidden:
                self.on_forbidden(scope, refused.code or "forbidden")
            await self._refuse(refused, scope, body, receive, answer)
        except HTTPException as unrouted:
            await self._refuse(_worded(unrouted, scope), scope, body, receive, answer)
        except ClientDisconnect:
            answer.status = CLIENT_GONE
        except asyncio.CancelledError:
            # Nobody but a server that stops does this, to what has outlasted its time for finishing.
            if answer.status:
                raise
            await self._refuse(_RESTARTING, scope, body, receive, answer)
        except Exception as error:  # the one place that every fault of our own reaches: worded, logged, reported
            log.error("request_crashed", request_id=state["request_id"], route=endpoint(scope), exc_info=error)
            telemetry.report(error)
            crashed = Refused(
                500, "internal_error", "Something broke on our side; the request id finds it in our logs."
            )
            await self._refuse(crashed, scope, body, receive, answer)
        finally:
            self.in_flight -= 1
            telemetry.IN_FLIGHT.dec()
            self._record(scope, state, answer.status or CLIENT_GONE, perf_counter() - started)

    def _admit(self, scope: Scope) -> int | None:
        """Bytes of body the head declares, -1 when it declares a body but not its size, None for no body at all.

        Raises Refused for a head that goes no further.
        """
        if scope["http_version"] not in _VERSIONS:
            raise Refused(505, "unsupported_http_version", "This door speaks HTTP/1.1.")
        if "\0" in scope["path"]:
            raise Refused(404, "unknown_url", "Nothing here has a name with a NUL in it.")  # Postgres takes none
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        head_bytes, hosts, keys, declared = 0, 0, 0, None
        for name, value in headers:
            head_bytes += len(name) + len(value)
            if name == b"host":
                hosts += 1
                if not _HOST.fullmatch(value):
                    raise Refused(400, "invalid_host", "The Host header is a name or an address, and a port.")
            elif name == b"authorization":
                keys += 1
            elif name == b"content-length":
                declared = int(value)  # digits only: the parser has refused everything else
            elif name == b"transfer-encoding":
                declared = -1
                if value.strip().lower() != b"chunked" or scope["http_version"] == "1.0":
                    # Whoever stands before us may see the end of the body elsewhere.
                    raise Refused(501, "unsupported_transfer_encoding", "A body comes with its length, or chunked.")
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise Refused(415, "unsupported_content_encoding", "Send the body as it is, without compression.")
        if len(headers) > HEADERS_MAX or head_bytes > HEADER_BYTES_MAX:
            limits = f"at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes together"
            raise Refused(431, "headers_too_large", f"The head of the request is too large: {limits}.")
        if hosts != 1 and (hosts or scope["http_version"] != "1.0"):
            raise Refused(400, "invalid_host", "A request carries exactly one Host header.")
        if keys > 1:
            raise Refused(400, "ambiguous_key", "A request carries one Authorization header.")
        if declared is not None and declared > self.body_bytes_max:
            raise self.too_large()
        return declared

    def too_large(self) -> Refused:
        return Refused(
            413, "request_too_large", f"The body is larger than {self.body_bytes_max} bytes, the most that is taken."
        )

    async def _refuse(
        self, refused: Refused, scope: Scope, body: _Body | None, receive: Receive, answer: _Answer
    ) -> None:
        """Tells the client, where it can still be told: an answer that has begun is broken off by the server."""
        if answer.status:
            return
        told = response(refused, request_id(scope), wire_of(scope["path"], scope["headers"]))
        if refused.status in _CLOSING:
            told.headers["connection"] = "close"
        if refused.status == 413:
            await _linger(told.body, told.status_code, told.raw_headers, body.receive if body else receive, answer)
        else:
            await told(scope, receive, answer)

    def _record(self, scope: Scope, state: State, status: int, duration_s: float) -> None:
        template = endpoint(scope)
        key = (scope["method"], template, status)
        try:
            count, duration = self._metrics[key]
        except KeyError:
            count = telemetry.HTTP_REQUESTS.labels(scope["method"], template, str(status))
            duration = telemetry.HTTP_DURATION.labels(template)
            self._metrics[key] = count, duration
        count.inc()
        duration.observe(duration_s)
        said: dict[str, object] = {
            "method": scope["method"],
            "route": template,
            "status": status,
            "duration_ms": round(duration_s * 1000, 2),
            "request_id": state["request_id"],
        }
        if "account" in state:
            said["account"] = state["account"]
        log.info("request_answered", **said)


_RESTARTING = Refused(
    503,
    "server_restarting",
    "The server restarts; a request that was accepted goes on. Ask again, or ask for it by its id.",
)

_CLOSING = frozenset({408, 413, 431, 501, 505})
"""After these the connection holds bytes that nobody will read, or whose end is in doubt."""

_VERSIONS = frozenset({"1.0", "1.1"})
_HOST: Final = re.compile(rb"[A-Za-z0-9._~-]*(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
"""Nothing of ours reads it; what could mean a path to somebody else goes no further all the same."""


class _Answer:
    """`send`, with the request id and what every answer says added to the head, remembering the status."""

    __slots__ = ("opened", "send", "state", "status")

    def __init__(self, send: Send, state: State, opened: list[tuple[bytes, bytes]]) -> None:
        self.opened = opened
        self.send = send
        self.state = state
        self.status = 0
        """0 until the answer has begun."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            page = self.state.get(PAGE)
            headers = with_safe(
                [*message.get("headers", ()), *(self.opened if page is None else opened(cast(bytes, page)))]
            )
            if not any(name == b"x-request-id" for name, _ in headers):
                headers.append((b"x-request-id", cast(str, self.state["request_id"]).encode()))
            message["headers"] = headers
        await self.send(message)


class _Body:
    """`receive`, counting bytes and minding the clock until the body is whole; then it only waits for the end."""

    __slots__ = ("declared", "receive", "received", "shell", "started", "whole")

    def __init__(self, receive: Receive, shell: Shell, declared: int) -> None:
        self.receive = receive
        self.shell = shell
        self.declared = declared
        self.received = 0
        self.started = 0.0
        self.whole = declared == 0

    async def __call__(self) -> Message:
        if self.whole:
            return await self.receive()
        if not self.started:
            self.started = asyncio.get_running_loop().time()
        allowed_s = min(self.shell.body_s_max, self.shell.body_grace_s + self.received / BODY_BYTES_PER_S_MIN)
        try:
            async with asyncio.timeout_at(self.started + allowed_s):
                message = await self.receive()
        except TimeoutError:
            raise Refused(408, "body_too_slow", "The body did not arrive in time.") from None
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            if self.received > self.shell.body_bytes_max:
                raise self.shell.too_large()
            self.whole = not message.get("more_body", False)
        return message


async def _linger(
    body: bytes | memoryview, status: int, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send
) -> None:
    """Answers at once and discards what still comes for a while: to close on a client that is still sending would
    throw the answer away before it is read."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_S_MAX):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass
    except TimeoutError:
        log.info("refused_body_unfinished", status=status)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Routed(Protocol):
    path_format: str


def endpoint(scope: Scope) -> str:
    """The template of the route that was found, such as `/v1/requests/{id}`."""
    route = scope.get("route")
    return UNMATCHED if route is None else cast(_Routed, route).path_format


def _worded(unrouted: HTTPException, scope: Scope) -> Refused:
    """The router's plain words → a refusal."""
    asked = f"{scope['method']} {scope['path']}"
    if unrouted.status_code == 404:
        return Refused(404, "unknown_url", f"Unknown request URL: {asked}.")
    if unrouted.status_code == 405:
        return Refused(405, "method_not_supported", f"Not allowed: {asked}.", headers=unrouted.headers or {})
    return Refused(unrouted.status_code, None, unrouted.detail, headers=unrouted.headers or {})
