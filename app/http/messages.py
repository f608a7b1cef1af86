"""The doors of Anthropic's messages: `/v1/messages`, and the count of tokens beside it.

One rule: what Anthropic's clients send reaches Anthropic as it is, their beta flags and unknown fields too.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.asked import Arrived, Asked, chosen_model, without
from app.http.authentication import Headers, header, identify
from app.http.completions import Completions
from app.http.dialect import Header, event
from app.http.json_body import parse, read_body
from app.http.message_shapes import CountBody, MessagesBody, refuse_outdated
from app.http.refusals import Refused
from app.http.shapes import shaped
from app.live.last_word import LastWord
from app.providers.counting import anthropic_tokens
from app.wiring import WebParts
from events.completions import Wire
from handlers.rules.body_sizes import BODY_BYTES_MAX

ENDPOINT: Final = "/v1/messages"

OWN_FIELDS: Final = ("optimize",)
"""Fields of the body that are Helix's own: no provider sees them."""

DEFAULT_VERSION: Final = "2023-06-01"
"""For who sends none; Anthropic itself would refuse."""

BETA_CHARACTERS_MAX: Final = 4096
"""Claude Code sends eight flags, below 300 characters."""

_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class MessagesDialect:
    """Anthropic's messages."""

    wire: Wire = "anthropic"
    ping = event("ping", b'{"type": "ping"}')
    closing_needs_answer = False

    def headers(self, request: str) -> tuple[Header, ...]:
        return ((b"request-id", request.encode()),)

    def whole(self, request: str, answer: bytes, meta: LastWord) -> bytes:
        return answer

    def retold(self, request: str, answer: bytes) -> bytes:
        return as_events(answer)

    def closing(self, request: str, answer: bytes, meta: LastWord, events: int) -> bytes:
        return event("message_stop", b'{"type":"message_stop"}')

    def broken(self, request: str, error: bytes, meta: LastWord, events: int) -> bytes:
        return event("error", error)


class MessagesDoor:
    """What comes in as a message."""

    endpoint = ENDPOINT
    wire: ClassVar[Wire] = "anthropic"
    _dialect: Final = MessagesDialect()

    async def read(self, arrived: Arrived) -> Asked:
        body = shaped(MessagesBody, arrived.parsed)
        version = version_of(arrived.headers)
        refuse_outdated(body, version)
        return Asked(
            dialect=self._dialect,
            model=body.model,
            stream=bool(body.stream),
            question=without(OWN_FIELDS, arrived),
            optimize=body.optimize,
            forwarded=(("anthropic-version", version), *_beta(arrived.headers)),
        )


class Messages:
    """The routes below `/v1/messages`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        return [
            Route(ENDPOINT, Completions(self._parts, MessagesDoor()), methods=["POST"]),
            Route(f"{ENDPOINT}/count_tokens", self.count_tokens, methods=["POST"]),
        ]

    async def count_tokens(self, request: Request) -> Response:
        """How many tokens a question would take: an estimate of ours, which costs nothing."""
        headers: Headers = request.scope["headers"]
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        raw = await read_body(request.receive, BODY_BYTES_MAX[identity.tier])
        body = shaped(CountBody, await parse(raw))
        refuse_outdated(body, version_of(headers))
        chosen_model(self._parts.catalogue_of(identity), identity, body.model, "chat")
        # The encoding takes half a second to load, and a long text some milliseconds of the event loop.
        tokens = await asyncio.to_thread(anthropic_tokens, raw)
        answer = orjson.dumps({"input_tokens": tokens})
        told = {"request-id": request.scope["state"]["request_id"]}
        return Response(answer, media_type="application/json", headers=told)


def version_of(headers: Headers) -> str:
    """The version of Anthropic's API that the client speaks. Raises Refused 400 for one that is none."""
    version = header(headers, b"anthropic-version")
    if version is None:
        return DEFAULT_VERSION
    if not _VERSION.fullmatch(version):
        raise Refused(400, "invalid_value", "anthropic-version: is a date such as 2023-06-01.", param=None)
    return version


def _beta(headers: Headers) -> tuple[tuple[str, str], ...]:
    flags = ",".join(
        value.decode("latin-1").strip() for name, value in headers if name == b"anthropic-beta" and value.strip()
    )
    if not flags:
        return ()
    if len(flags) > BETA_CHARACTERS_MAX or not flags.isascii() or not flags.isprintable():
        raise Refused(400, "invalid_value", "anthropic-beta: is a list of names with commas between them.")
    return (("anthropic-beta", flags),)


def as_events(answer: bytes) -> bytes:
    """A whole message as the events of a stream, without the closing one: for a client that asks for a stream after the
    fact."""
    message: dict[str, Any] = orjson.loads(answer)
    usage = message.get("usage") or {"input_tokens": 0, "output_tokens": 0}
    start = message | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 0}}
    said: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(message["content"]):
        empty, deltas = _block(block)
        said.append({"type": "content_block_start", "index": index, "content_block": empty})
        said += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        said.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    said.append({"type": "message_delta", "delta": end, "usage": usage})
    return b"".join(event(one["type"], orjson.dumps(one)) for one in said)


def _block(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A content block as its start and its deltas; of a kind that we do not know, whole in its start."""
    match block["type"]:
        case "text":
            return block | {"text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "tool_use" | "server_tool_use":
            told = orjson.dumps(block["input"]).decode()
            return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": told}]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            if block.get("signature"):
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return block | {"thinking": "", "signature": ""}, deltas
        case _:
            return block, []
