"""A request that nobody wants any more: its provider is let go, it ends `cancelled`, and what was used is recorded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from events.completions import CompletionCancelled
from tests.fakes.provider import EVENTS, Provider, Script, openai_events
from tests.journeys.books import Books, soon
from tests.journeys.client import Client, question
from tests.journeys.running import Helix

WORDS = ["one ", "two ", "three "]


@pytest.fixture
def endless(provider: Provider) -> Provider:
    """A provider that says three words and then nothing more, until it is left."""
    provider.scripts[:] = [Script(openai_events(WORDS)[:4], content_type=EVENTS, ending="silent")]
    return provider


@contextmanager
def frozen(helix: Helix) -> Iterator[None]:
    """The workers of this Helix stand still."""
    pids = helix.now()["pids"]["worker"]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def reached(provider: Provider) -> None:
    async def asked() -> bool:
        return bool(provider.asked)

    await soon(asked)


async def left(provider: Provider) -> None:
    """The provider's socket was closed on it."""
    async with asyncio.timeout(30):
        await provider.left.wait()


async def test_a_cancelled_stream_lets_the_provider_go_and_what_was_used_is_recorded(
    client: Client, books: Books, endless: Provider
) -> None:
    body = question("on and on", "near/small", stream=True)
    async with client.sending("POST", "/v1/chat/completions", body) as answer:
        request = answer.headers["x-request-id"]
        said = b""
        while b"three" not in said:
            said += await answer.content.readany()
        cancelled = await client.post(f"/v1/requests/{request}/cancel")
        said += await answer.content.read()
    await left(endless)

    assert cancelled.json["status"] == "cancelled"
    assert b'"code": "cancelled"' in said or b'"code":"cancelled"' in said
    assert b"[DONE]" not in said
    view = await client.end_of(request)
    assert view["usage"]["source"] == "estimated"
    assert view["usage"]["output_tokens"] > 0
    assert view["cost"]["nanousd"] > 0
    assert [attempt["outcome"] for attempt in view["attempts"]] == ["cancelled"]
    assert await books.ends([request]) == {request: 1}
    assert await books.usage([request]) == {request: 1}


async def test_a_client_that_leaves_cancels_what_it_asked_for(client: Client, books: Books, endless: Provider) -> None:
    body = question("on and on", "near/small", stream=True)
    async with client.sending("POST", "/v1/chat/completions", body) as answer:
        request = answer.headers["x-request-id"]
        await answer.content.readany()
    await left(endless)
    assert (await client.end_of(request))["status"] == "cancelled"
    ends = [said.body for said in await books.events() if said.subject == request]
    assert [end.by for end in ends if isinstance(end, CompletionCancelled)] == ["disconnect"]
    assert await books.usage([request]) == {request: 1}


async def test_a_client_that_leaves_while_it_waits_for_a_whole_answer_cancels_it(
    client: Client, books: Books, provider: Provider
) -> None:
    provider.scripts[:] = [Script((b"{",), ending="silent")]
    waiting = asyncio.create_task(client.complete(question("one day", "near/small")))
    await reached(provider)
    waiting.cancel()
    await left(provider)
    (request,) = [view["id"] for view in (await client.get("/v1/requests?limit=1")).json["data"]]
    assert (await client.end_of(request))["status"] == "cancelled"
    assert await books.usage([request]) == {}


async def test_a_client_that_said_so_may_leave_and_the_answer_is_there_for_it(client: Client) -> None:
    words = "one two three four five six seven eight"
    body = question(f"[chunk_delay_ms=50] {words}", "sandbox/faulty", stream=True)
    async with client.sending("POST", "/v1/chat/completions", body, x_helix_on_disconnect="continue") as answer:
        request = answer.headers["x-request-id"]
        await answer.content.readany()
    view = await client.end_of(request)
    assert view["status"] == "completed"
    assert view["response"]["choices"][0]["message"]["content"] == words


async def test_one_who_leaves_does_not_cancel_what_another_has_attached_to(client: Client) -> None:
    words = "one two three four five six seven eight"
    body = question(f"[chunk_delay_ms=100] {words}", "sandbox/faulty", stream=True)
    async with client.sending("POST", "/v1/chat/completions", body, idempotency_key="shared ride") as answer:
        await answer.content.readany()
        async with client.sending("POST", "/v1/chat/completions", body, idempotency_key="shared ride") as attached:
            answer.close()
            rest = await attached.content.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert (await client.end_of(attached.headers["x-request-id"]))["status"] == "completed"


async def test_a_request_cancelled_in_the_queue_ends_cancelled_and_costs_nothing(
    helix: Helix, client: Client, books: Books, provider: Provider
) -> None:
    provider.scripts[:] = [Script((b"{",), ending="silent")]  # the worker asks and hears of the cancellation at once
    with frozen(helix):
        request = await client.submit(question("too late", "near/small"))
        asked = (await client.post(f"/v1/requests/{request}/cancel")).json
        assert asked["cancel_requested"]
    view = await client.end_of(request)
    assert (view["status"], view["usage"]) == ("cancelled", None)
    assert await books.ends([request]) == {request: 1}
    assert await books.usage([request]) == {}


async def test_cancelled_twice_ends_once(client: Client, books: Books, endless: Provider) -> None:
    request = await client.submit(question("on and on", "near/small", stream=True))
    await reached(endless)
    cancel = f"/v1/requests/{request}/cancel"
    both = await asyncio.gather(client.post(cancel), client.post(cancel))
    assert [answer.json["status"] for answer in both] == ["cancelled", "cancelled"]
    assert await books.ends([request]) == {request: 1}


async def test_cancelling_what_has_ended_changes_nothing(client: Client, books: Books) -> None:
    request = (await client.complete(question("done"))).request
    before = await client.view(request)
    assert (await client.post(f"/v1/requests/{request}/cancel")).json == before
    assert await client.view(request) == before
    assert await books.ends([request]) == {request: 1}
