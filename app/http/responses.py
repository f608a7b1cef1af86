"""The door of OpenAI's responses: `POST /v1/responses`.

One rule: the worker is asked with everything in one body, what went before included, so that any provider can answer; what
the client itself sent is kept beside it, so that the next response can go on from this one.
"""

from __future__ import annotations

from typing import ClassVar, Final

import orjson

from app.http.asked import Arrived, Asked, without
from app.http.authentication import header
from app.http.dialect import COMMENT, Header
from app.http.refusals import Refused
from app.http.response_objects import (
    Json,
    as_events,
    broken,
    closing,
    failed,
    finished,
    request_of,
    unfinished,
)
from app.http.response_shapes import ResponsesBody
from app.http.response_store import KeptResponse, ResponseStore
from app.http.shapes import shaped
from app.http.shell import BODY_BYTES_MAX
from app.live.last_word import LastWord
from app.wiring import WebParts
from events.completions import Wire

ENDPOINT: Final = "/v1/responses"

OWN_FIELDS: Final = ("optimize",)
"""Fields of the body that are Helix's own: no provider sees them."""

SESSION_CHARACTERS_MAX: Final = 256


class ResponsesDialect:
    """OpenAI's responses, for one question."""

    wire: Wire = "responses"
    ping = COMMENT
    closing_needs_answer = True

    def __init__(self, question: Json) -> None:
        self._question = question

    def headers(self, request: str) -> tuple[Header, ...]:
        return ()

    def whole(self, request: str, answer: bytes, meta: LastWord) -> bytes:
        return orjson.dumps(finished(answer, self._question))

    def retold(self, request: str, answer: bytes) -> bytes:
        return as_events(finished(answer, self._question))

    def closing(self, request: str, answer: bytes, meta: LastWord, events: int) -> bytes:
        return closing(finished(answer, self._question), events)

    def broken(self, request: str, error: bytes, meta: LastWord, events: int) -> bytes:
        if meta.get("outcome") == "cancelled":
            return broken(unfinished(request, self._question, "cancelled"), events)
        return broken(failed(request, self._question, error, meta.get("status", 500)), events)


class ResponsesDoor:
    """What comes in as a response to be made."""

    endpoint = ENDPOINT
    wire: ClassVar[Wire] = "responses"

    def __init__(self, parts: WebParts) -> None:
        self._store = ResponseStore(parts)

    async def read(self, arrived: Arrived) -> Asked:
        body = shaped(ResponsesBody, arrived.parsed)
        kept = body.store is not False
        background = bool(body.background)
        if background and not kept:
            raise Refused(
                400,
                "invalid_value",
                "A response in the background is kept: `store` cannot be false.",
                param="background",
            )
        question, previous = without(OWN_FIELDS, arrived), None
        if body.previous_response_id is not None:
            previous = request_of(body.previous_response_id)
            before = await self._before(arrived.account, body.previous_response_id)
            question = _put_together(before, arrived.parsed)
        account, stream = arrived.account, bool(body.stream)

        async def promised(request: str) -> bytes:
            """How the response stands, now that it is accepted."""
            found = await self._store.find(account, request)
            return orjson.dumps(found.view if found else unfinished(request, arrived.parsed, "queued"))

        return Asked(
            dialect=ResponsesDialect(arrived.parsed),
            model=body.model,
            stream=stream,
            question=question,
            optimize=body.optimize,
            previous=previous,
            kept=without(OWN_FIELDS, arrived) if kept else None,
            promised=promised if background and not stream else None,
            in_pieces=background,
            stay=background,
            session=_session(arrived),
        )

    async def _before(self, account: str, response: str) -> list[KeptResponse]:
        """The responses that this one goes on from, oldest first."""
        chain = await self._store.chain(account, request_of(response)) if request_of(response) else []
        if not chain:
            raise _not_before(f"Previous response with id '{response[:100]}' not found.", "previous_response_not_found")
        if chain[-1].view["status"] not in ("completed", "incomplete"):
            said = f"Previous response with id '{response[:100]}' is {chain[-1].view['status']}."
            raise _not_before(said, "previous_response_not_completed")
        return chain


def _not_before(message: str, code: str) -> Refused:
    return Refused(400, code, message, param="previous_response_id")


def _put_together(before: list[KeptResponse], body: Json) -> bytes:
    """The question with everything said before it, oldest first. Raises Refused 400 when that is too much."""
    items: list[object] = []
    for response in before:
        items += items_of(response.question["input"])
        items += [_said(item) for item in response.view["output"] if _sayable(item)]
    items += items_of(body["input"])
    own = {name: value for name, value in body.items() if name not in OWN_FIELDS}
    question = orjson.dumps(own | {"input": items})
    if len(question) > BODY_BYTES_MAX:
        message = f"With all that was said before, the input is larger than {BODY_BYTES_MAX} bytes."
        raise Refused(400, "context_length_exceeded", message, param="previous_response_id")
    return question


def items_of(said: object) -> list[Json]:
    """An input as items: a text is one message of the user's."""
    if isinstance(said, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]}]
    return said if isinstance(said, list) else []


def _sayable(item: Json) -> bool:
    """A thought that is not sealed into itself means nothing to whoever does not keep it."""
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _said(item: Json) -> Json:
    """An item of an answer as one of a question: its id is ours, and nobody behind us knows it."""
    return {name: value for name, value in item.items() if name not in ("id", "status")}


def _session(arrived: Arrived) -> str | None:
    """Codex names its session, and asks up to six times within seconds when a stream breaks off."""
    named = header(arrived.headers, b"session-id") or header(arrived.headers, b"session_id")
    return named[:SESSION_CHARACTERS_MAX] if named else None
