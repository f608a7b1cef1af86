"""The routes below `/v1/responses/{id}`: what is kept of a response, for as long as its account wants it kept.

One rule: what is not kept, not there, or somebody else's is the same 404.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.http.authentication import identify, watched
from app.http.completions import Completions
from app.http.delivery import Progress, Resumed, Ticket, deliver, end_for_key
from app.http.earlier import follower, logged, until_ended
from app.http.leaving import Leaving
from app.http.refusals import Refused
from app.http.requests import CANCEL_S
from app.http.response_objects import PREFIX, Json, request_of
from app.http.response_store import KeptResponse, ResponseStore
from app.http.responses import ENDPOINT, ResponsesDialect, ResponsesDoor, items_of
from app.ids import new_id
from app.live.listen import ClientGone, Follower, Heard, follow
from app.log import Log
from app.wiring import WebParts
from events.message import Envelope
from events.responses import ResponseDeleted

PAGE_MAX: Final = 100
PAGE: Final = 20

_REQUEST: Final = re.compile(r"req_[0-9a-f]{32}")
_NUMBER: Final = re.compile(r"\d{1,9}")


class Responses:
    """The routes of OpenAI's responses."""

    def __init__(self, parts: WebParts, leaving: Leaving) -> None:
        self._parts = parts
        self._leaving = leaving
        self._store = ResponseStore(parts)

    def routes(self) -> list[Route]:
        return [
            Route(ENDPOINT, Completions(self._parts, ResponsesDoor(self._parts)), methods=["POST"]),
            Route(f"{ENDPOINT}/{{id}}", self.show, methods=["GET"]),
            Route(f"{ENDPOINT}/{{id}}", self.delete, methods=["DELETE"]),
            Route(f"{ENDPOINT}/{{id}}/cancel", self.cancel, methods=["POST"]),
            Route(f"{ENDPOINT}/{{id}}/input_items", self.input_items, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """A response as it stands; with `stream=true` as it goes on, behind the event numbered `starting_after`."""
        account, response = await self._found(request)
        if not _yes(request, "stream"):
            return _json(response.view)
        after = request.query_params.get("starting_after")
        if after is not None and not _NUMBER.fullmatch(after):
            raise _invalid("starting_after", "the sequence number of an event")
        ear, restarted = await self._ear(account, response.request)
        resumed = Resumed(0 if after is None else int(after) + 1, ending_only=after is not None and restarted)
        dialect = ResponsesDialect(response.question)
        return _Stream(self._parts, Ticket(account, response.request, dialect, True, resumed=resumed), ear)

    async def cancel(self, request: Request) -> Response:
        """Stop a response; what was used is still recorded. One that has ended stays as it is."""
        account, response = await self._found(request)
        if response.running:
            response = await self._stopped(account, response)
        return _json(response.view)

    async def delete(self, request: Request) -> Response:
        """Forget a response; one that runs is stopped first. Its metadata and its price stay."""
        account, response = await self._found(request)
        if response.running:
            response = await self._stopped(account, response)
            if response.running:
                raise Refused(409, "response_running", "The response is being stopped; delete it again in a moment.")
        now = datetime.now(UTC)
        fact = Envelope.begin(ResponseDeleted(), id=new_id(), at=now, account=account, subject=response.request)
        await logged(self._parts.log.publish(fact))
        await logged(self._parts.log.let_go(account, response.request))
        return _json({"id": response.view["id"], "object": "response", "deleted": True})

    async def input_items(self, request: Request) -> Response:
        """What the client sent as this response's input, item by item; what went before is that of earlier responses."""
        _, response = await self._found(request)
        limit, order, after = _page(request)
        digits = response.view["id"].removeprefix(PREFIX)
        items = [_item(item, f"{digits}{place:04x}") for place, item in enumerate(items_of(response.question["input"]))]
        if order == "desc":
            items.reverse()
        if after is not None:
            behind = [place for place, item in enumerate(items, 1) if item["id"] == after]
            if not behind:
                raise _invalid("after", "the id of an item")
            items = items[behind[0] :]
        shown = items[:limit]
        return _json(
            {
                "object": "list",
                "data": shown,
                "has_more": len(items) > limit,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
            }
        )

    async def _found(self, request: Request) -> tuple[str, KeptResponse]:
        """The account that asks, and the response it asks for. Raises Refused 404 when it has none such."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        id = request_of(request.path_params["id"])
        found = await self._store.find(identity.account, id) if _REQUEST.fullmatch(id) else None
        if found is None:
            shown = request.path_params["id"][:100]
            raise Refused(404, "response_not_found", f"Response with id '{shown}' not found.", param="id")
        return identity.account, found

    async def _stopped(self, account: str, response: KeptResponse) -> KeptResponse:
        """The response after it has been told to stop, and given a moment to."""
        await logged(self._parts.log.cancel(account, response.request, "client"))
        await until_ended(self._parts.log, self._leaving, account, response.request, CANCEL_S)
        return await self._store.find(account, response.request) or response

    async def _ear(self, account: str, request: str) -> tuple[Follower, bool]:
        """The ear for a response that another call has begun, and whether it was begun anew since."""
        log = self._parts.log
        frames = await logged(log.frames(account, request, "0-0"))
        told = {frame.attempt for frame in frames if frame.kind == "d"}
        if not told:
            return await follower(self._parts, account, request), False
        last = max(frame.attempt for frame in frames)  # of which there may be no word yet
        return Follower(_from_attempt(last, log, account, request)), min(told) < last


class _Stream(Response):
    """An answer that is delivered as it comes."""

    def __init__(self, parts: WebParts, ticket: Ticket, ear: Follower) -> None:
        self._parts = parts
        self._ticket = ticket
        self._ear = ear

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts, ticket, progress = self._parts, self._ticket, Progress()
        try:
            with watched(parts, scope, self._ear.interrupt) as watch:
                await deliver(ticket, self._ear, parts.log, parts.vault, receive, send, progress)
        except ClientGone:
            if watch.over:
                await end_for_key(ticket, send, progress)
            # Else who follows may come and go.
        finally:
            await self._ear.close()


async def _from_attempt(first: int, log: Log, account: str, request: str) -> AsyncGenerator[Heard | None, None]:
    """What there is to hear of a request, without the attempts that are void."""
    async for heard in follow(log, account, request):
        if heard is None or heard.frame.attempt >= first:
            yield heard


def _item(item: Json, number: str) -> Json:
    """An item of an input as OpenAI lists it: with an id, a type, and its content as parts."""
    kind = item.get("type") or "message"
    listed = {"id": f"{_PREFIXES.get(kind, kind)}_{number}", "type": kind} | item
    if kind in _PREFIXES:
        listed.setdefault("status", "completed")
    if kind == "message" and isinstance(content := item.get("content"), str):
        mine = {"type": "output_text", "text": content, "annotations": []}
        theirs = {"type": "input_text", "text": content}
        listed["content"] = [mine if item.get("role") == "assistant" else theirs]
    return listed


_PREFIXES: Final = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}
"""Kinds of item that have a status → what their ids begin with."""


def _page(request: Request) -> tuple[int, str, str | None]:
    query = request.query_params
    limit = query.get("limit", str(PAGE))
    if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= PAGE_MAX:
        raise _invalid("limit", f"a number from 1 to {PAGE_MAX}")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise _invalid("order", "asc or desc")
    return int(limit), order, query.get("after")


def _yes(request: Request, name: str) -> bool:
    said = request.query_params.get(name, "false").lower()
    if said not in ("true", "false"):
        raise _invalid(name, "true or false")
    return said == "true"


def _invalid(param: str, wanted: str) -> Refused:
    return Refused(400, "invalid_value", f"`{param}` is {wanted}.", param=param)


def _json(document: Json) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers={"cache-control": "no-store"})
