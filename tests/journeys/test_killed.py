"""Whatever is killed, and whenever: what was accepted ends once and is billed once. On an `up` of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from app.log import keys
from tests.journeys.books import Books, books_of, soon
from tests.journeys.client import Answer, Client, chunks, client_of, question, said
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix

KILLS = 10
WAVE = 50
"""Requests between two kills."""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helix]:
    with helix_on(tmp_path_factory.mktemp("mortal") / "data") as running:
        yield running


@pytest.fixture
async def client(mortal: Helix) -> AsyncIterator[Client]:
    async with client_of(mortal.base_url, mortal.facts["api_key"]) as made:
        yield made


@pytest.fixture
async def books(mortal: Helix) -> AsyncIterator[Books]:
    async with books_of(mortal.now()) as opened:
        yield opened


@dataclass(frozen=True)
class Asked:
    """What one client sent, and the answer it got on the way; None where it was only promised one."""

    words: str
    request: str
    answer: Answer | None


async def ask(client: Client, number: int) -> Asked:
    """One of three kinds of client in turn: one that waits, one that streams, one that comes back later."""
    words = " ".join(f"{number}.{place}" for place in range(10))
    kind = number % 3
    if kind == 0:
        answer = await client.complete(question(f"[delay_ms=150] {words}", "sandbox/faulty"))
        return Asked(words, answer.request, answer)
    if kind == 1:
        answer = await client.complete(question(f"[chunk_delay_ms=25] {words}", "sandbox/faulty", stream=True))
        return Asked(words, answer.request, answer)
    return Asked(words, await client.submit(question(f"[delay_ms=600] {words}", "sandbox/faulty")), None)


async def kill(helix: Helix, role: str) -> None:
    """`kill -9` the one process of this role, and wait for its successor's pid."""
    (pid,) = helix.now()["pids"][role]  # type: ignore[literal-required]  # the test names the role
    os.kill(pid, signal.SIGKILL)

    async def followed() -> bool:
        return bool(helix.now()["pids"][role] != [pid])  # type: ignore[literal-required]  # the test names the role

    await soon(followed)


async def test_five_hundred_requests_outlive_ten_killed_workers(mortal: Helix, client: Client, books: Books) -> None:
    before = len(await books.events())
    running: list[asyncio.Task[Asked]] = []

    async def in_hand() -> bool:
        pending = await books.log.command("XPENDING", keys.commands(0), keys.COMPLETIONS)
        return bool(pending[0] >= WAVE // 5)

    async def ended() -> bool:
        """So that no request is killed so often that it is put away."""
        return bool(await books.log.command("XLEN", keys.events(0)) >= before + len(running))

    for wave in range(KILLS):
        await soon(ended)
        running += [asyncio.create_task(ask(client, wave * WAVE + place)) for place in range(WAVE)]
        await soon(in_hand)
        await kill(mortal, "worker")
    asked = await asyncio.gather(*running)
    views = await asyncio.gather(*(client.end_of(one.request) for one in asked))

    once = {one.request: 1 for one in asked}
    assert len(once) == KILLS * WAVE
    assert {view["status"] for view in views} == {"completed"}
    assert [view["response"]["choices"][0]["message"]["content"] for view in views] == [one.words for one in asked]
    assert await books.ends(once) == once
    assert len(await books.events()) == before + KILLS * WAVE
    assert await books.usage(once) == once
    assert await books.database.fetchval("SELECT count(*) FROM usage") == KILLS * WAVE
    assert await books.idle()
    assert await books.log.command("EXISTS", keys.parked(0)) == 0
    for one in asked:
        if one.answer is not None:
            assert one.answer.status == 200
            assert_whole_or_cleanly_broken(one.words, one.answer)


def assert_whole_or_cleanly_broken(words: str, answer: Answer) -> None:
    """An answer that was begun twice shows the words of one attempt only, and says that it broke off."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text == words
        return
    *_, last = chunks(answer.body)
    if "error" in last:
        assert last["error"]["code"] == "restarted"
        assert words.startswith(said(answer.body))
        assert b"[DONE]" not in answer.body
    else:
        assert said(answer.body) == words
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_a_stream_whose_worker_dies_after_its_first_words_ends_in_an_error(
    mortal: Helix, client: Client, books: Books
) -> None:
    body = question("[chunk_delay_ms=100] one two three four five six seven eight", "sandbox/faulty", stream=True)
    async with client.sending("POST", "/v1/chat/completions", body) as answer:
        stream = b""
        while b"three" not in stream:
            stream += await answer.content.readany()
        await kill(mortal, "worker")
        stream += await answer.content.read()
    *_, last = chunks(stream)
    assert last["error"]["code"] == "restarted"
    assert "one two three four five six seven eight".startswith(said(stream))
    request = answer.headers["x-request-id"]
    view = await client.end_of(request)
    assert view["response"]["choices"][0]["message"]["content"] == "one two three four five six seven eight"
    assert await books.usage([request]) == {request: 1}


async def test_what_the_log_acknowledged_is_there_after_the_log_was_killed(mortal: Helix, client: Client) -> None:
    ids = [await client.submit(question(f"kept {number}")) for number in range(20)]
    await kill(mortal, "log")
    await ready_again(client)
    views = await asyncio.gather(*(client.end_of(id) for id in ids))
    answers = [view["response"]["choices"][0]["message"]["content"] for view in views]
    assert answers == [f"kept {number}" for number in range(20)]
    async with books_of(mortal.now()) as books:
        once = dict.fromkeys(ids, 1)
        assert await books.ends(once) == once
        assert await books.usage(once) == once


async def test_while_the_log_is_away_nothing_is_accepted_and_the_client_is_told_to_come_back(
    mortal: Helix, client: Client
) -> None:
    (pid,) = mortal.now()["pids"]["log"]
    os.kill(pid, signal.SIGKILL)
    answer = await client.complete(question("anybody there?"))
    while answer.status == 200:  # its successor was quicker than the test
        (pid,) = mortal.now()["pids"]["log"]
        os.kill(pid, signal.SIGKILL)
        answer = await client.complete(question("anybody there?"))
    assert answer.status == 503
    assert answer.error["type"] == "server_error"
    assert int(answer.headers["retry-after"]) >= 1
    await ready_again(client)
    assert (await client.complete(question("there again"))).text == "there again"


async def test_without_the_cache_requests_go_on(mortal: Helix, client: Client) -> None:
    assert (await client.complete(question("before"))).text == "before"
    await kill(mortal, "cache")
    assert (await client.complete(question("meanwhile"))).text == "meanwhile"
    await ready_again(client)


async def test_a_killed_postgres_delays_the_books_and_loses_nothing(mortal: Helix, client: Client) -> None:
    ids = [await client.submit(question(f"before {number}")) for number in range(5)]
    await kill(mortal, "postgres")
    meanwhile = await asyncio.gather(
        *(client.complete(question(f"meanwhile {number}"), prefer="respond-async") for number in range(5))
    )
    ids += [answer.json["id"] for answer in meanwhile if answer.status == 202]
    assert {answer.status for answer in meanwhile} <= {202, 503}
    await ready_again(client)
    for id in ids:
        assert (await client.end_of(id))["status"] == "completed"
    async with books_of(mortal.now()) as books:
        once = dict.fromkeys(ids, 1)
        assert await books.usage(once) == once


async def test_a_killed_web_process_cancels_nothing_that_was_promised(mortal: Helix, client: Client) -> None:
    id = await client.submit(question("[delay_ms=1000] still here", "sandbox/faulty"))
    await kill(mortal, "web")
    await ready_again(client)
    assert (await client.end_of(id))["response"]["choices"][0]["message"]["content"] == "still here"


async def test_a_killed_projector_misses_nothing(mortal: Helix, client: Client) -> None:
    ids = [await client.submit(question(f"seen {number}")) for number in range(10)]
    await kill(mortal, "projector")
    ids += [await client.submit(question(f"seen later {number}")) for number in range(10)]
    for id in ids:
        await client.end_of(id)
    async with books_of(mortal.now()) as books:
        once = dict.fromkeys(ids, 1)
        assert await books.usage(once) == once


async def ready_again(client: Client) -> None:
    """Wait until log and database serve again: what `/readyz` alone says may be half a second old."""

    async def answered() -> bool:
        try:
            asked = [
                await client.complete(question("ready?")),
                await client.get("/v1/requests"),
                await client.get("/readyz"),
            ]
            return [answer.status for answer in asked] == [200, 200, 200]
        except aiohttp.ClientError:
            return False

    await soon(answered)
    assert (await client.get("/livez")).status == 200


async def test_a_response_in_the_background_outlives_its_worker(mortal: Helix, client: Client, books: Books) -> None:
    words = " ".join(f"word-{number}" for number in range(40))
    ask = {"model": "sandbox/faulty", "input": f"[chunk_delay_ms=50] {words}", "background": True, "stream": True}
    async with client.sending("POST", "/v1/responses", ask) as answer:
        heard = await answer.content.readuntil(b"word-1")
        await kill(mortal, "worker")
        heard += await answer.content.read()
    id, told = chunks(heard)[0]["response"]["id"], chunks(heard)
    assert (told[-1]["type"], "begun anew" in told[-1]["response"]["error"]["message"]) == ("response.failed", True), (
        told
    )
    # Who comes again behind what is void hears how it ends; who begins at the start hears the attempt that counts.
    ending = chunks((await client.get(f"/v1/responses/{id}?stream=true&starting_after=3")).body)
    assert [event["type"] for event in ending] == ["response.completed"]
    assert ending[0]["response"]["output"][0]["content"][0]["text"] == words
    whole = chunks((await client.get(f"/v1/responses/{id}?stream=true")).body)
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert "".join(event["delta"] for event in whole if event["type"] == "response.output_text.delta") == words
    request = id.replace("resp_", "req_")
    assert await books.ends([request]) == await books.usage([request]) == {request: 1}
