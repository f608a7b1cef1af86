"""Asked twice, done once: the same `Idempotency-Key`, at once or later, and an SDK's own repetition."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.journeys.books import Books, soon
from tests.journeys.client import Client, question


@pytest.fixture
def key() -> str:
    return secrets.token_hex(16)


async def test_ten_times_at_once_is_one_request_one_answer_and_one_usage_row(
    client: Client, books: Books, key: str
) -> None:
    slow = question("[delay_ms=200] once and only once", "sandbox/faulty")
    answers = await asyncio.gather(*(client.complete(slow, idempotency_key=key) for _ in range(10)))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    (request,) = {answer.request for answer in answers}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 9
    assert await books.ends([request]) == {request: 1}
    assert await books.usage([request]) == {request: 1}


async def test_a_stream_asked_for_twice_attaches_to_the_running_one(client: Client, books: Books, key: str) -> None:
    slow = question("[chunk_delay_ms=20] one two three four five six seven", "sandbox/faulty", stream=True)
    first, *others = await asyncio.gather(*(client.complete(slow, idempotency_key=key) for _ in range(5)))

    assert first.text == "one two three four five six seven"
    assert {answer.body for answer in others} == {first.body}
    assert {answer.request for answer in others} == {first.request}
    assert await books.usage([first.request]) == {first.request: 1}


async def test_asked_again_after_the_end_gives_the_answer_there_was(client: Client, books: Books, key: str) -> None:
    first = await client.complete(question("again"), idempotency_key=key)
    again = await client.complete(question("again"), idempotency_key=key)
    quoted = await client.complete(question("again"), idempotency_key=f'"{key}"')
    assert (again.body, again.request) == (first.body, first.request)
    assert (quoted.body, quoted.request) == (first.body, first.request)
    assert await books.usage([first.request]) == {first.request: 1}


async def test_a_stream_asked_again_after_the_end_says_the_same_words(client: Client, key: str) -> None:
    body = question("the same words again", stream=True)
    first = await client.complete(body, idempotency_key=key)
    again = await client.complete(body, idempotency_key=key)
    assert (again.body, again.request) == (first.body, first.request)


async def test_submitted_twice_is_promised_once(client: Client, key: str) -> None:
    ids = await asyncio.gather(*(client.submit(question("promised"), idempotency_key=key) for _ in range(5)))
    assert len(set(ids)) == 1


async def test_another_body_under_the_same_key_is_refused(client: Client, key: str) -> None:
    await client.complete(question("first"), idempotency_key=key)
    refused = await client.complete(question("second"), idempotency_key=key)
    assert (refused.status, refused.error["code"]) == (422, "idempotency_key_reused")


async def test_another_account_has_keys_of_its_own(client: Client, stranger: Client, key: str) -> None:
    mine = await client.complete(question("mine"), idempotency_key=key)
    other = await stranger.complete(question("mine"), idempotency_key=key)
    assert other.status == 200
    assert other.request != mine.request


@pytest.mark.parametrize("bad", ["k" * 256, "", '""', "ключ", "a\tb", "é"])
async def test_a_key_that_is_none_is_refused_and_nothing_is_begun(client: Client, books: Books, bad: str) -> None:
    before = await books.lengths()
    refused = await client.complete(question("never"), idempotency_key=bad)
    assert (refused.status, refused.error["param"]) == (400, "Idempotency-Key")
    assert await books.lengths() == before


async def test_an_sdks_repetition_attaches_to_what_it_repeats(client: Client, books: Books) -> None:
    body = question(f"[delay_ms=500] {secrets.token_hex(8)}", "sandbox/faulty")
    first = asyncio.create_task(client.complete(body, x_stainless_retry_count="0"))

    async def begun() -> bool:
        return bool((await client.get("/v1/requests?status=running")).json["data"])

    await soon(begun)
    again = await client.complete(body, x_stainless_retry_count="1")
    assert again.request == (await first).request
    assert await books.usage([again.request]) == {again.request: 1}


async def test_an_sdk_that_asks_the_same_anew_is_answered_anew(client: Client) -> None:
    body = question(f"twice meant {secrets.token_hex(8)}")
    first = await client.complete(body, x_stainless_retry_count="0")
    second = await client.complete(body, x_stainless_retry_count="0")
    assert first.request != second.request
