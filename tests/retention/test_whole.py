"""A whole Helix whose log is small, loses its group, is cut, and at last is emptied by somebody."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import trimmer
from app.embedded.valkey import Valkey
from app.log import keys
from app.log.memory import shares_used
from app.postgres import engine
from projections.projection import BEGINNING
from tests.journeys.books import books_of, soon
from tests.journeys.client import client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix

LOG_BYTES = 32 * 2**20
WORDS = "x" * 60_000
"""A long question with a short answer."""


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    directory = Path(tempfile.mkdtemp(prefix="helix-tests-"))
    log = Valkey(directory / "log", "log")
    log.start()
    yield log
    log.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def helix(server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helix]:
    with helix_on(tmp_path_factory.mktemp("retention") / "data", REDIS_URL=server.url) as running:
        yield running


def tell_workers(helix: Helix, number: signal.Signals) -> None:
    for pid in helix.now()["pids"]["worker"]:
        os.kill(pid, number)


async def test_a_log_that_fills_refuses_new_work_and_ends_what_it_took(helix: Helix) -> None:
    async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
        await books.log.command("CONFIG", "SET", "maxmemory", LOG_BYTES)
        running = [await client.submit(question("[delay_ms=1500] under way", "sandbox/faulty")) for _ in range(5)]

        async def in_hand() -> bool:
            pending = await books.log.command("XPENDING", keys.commands(0), keys.COMPLETIONS)
            return bool(pending[0] == len(running))

        await soon(in_hand)
        tell_workers(helix, signal.SIGSTOP)
        accepted, refused = [*running], None
        async with asyncio.timeout(60):
            while refused is None:
                body = question(WORDS, "sandbox/lorem", max_tokens=3)
                answers = await asyncio.gather(*(client.complete(body, prefer="respond-async") for _ in range(5)))
                accepted += [answer.json["id"] for answer in answers if answer.status == 202]
                refused = next((answer for answer in answers if answer.status != 202), None)
                await asyncio.sleep(0.05)
        (share,) = (await shares_used(books.log)).values()
        tell_workers(helix, signal.SIGCONT)
        assert refused.status == 503
        assert refused.error["code"] == "log_full"
        assert int(refused.headers["retry-after"]) >= 1
        assert 0.7 < share < 0.85, "room is left for the ends of what was accepted"
        assert '"log_full"' in helix.stderr.read_text()
        ends = await asyncio.gather(*(client.end_of(request) for request in accepted))
        assert {end["status"] for end in ends} == {"completed"}

        async def taken_again() -> bool:
            return (await client.complete(question("hello"))).status == 200

        await soon(taken_again)
        await books.log.command("CONFIG", "SET", "maxmemory", 2**30)


async def test_a_destroyed_group_is_made_anew_at_0_and_loses_nothing(helix: Helix) -> None:
    async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
        tell_workers(helix, signal.SIGSTOP)
        waiting = [await client.submit(question(f"number {at}")) for at in range(5)]
        await books.log.command("XGROUP", "DESTROY", keys.commands(0), keys.COMPLETIONS)
        waiting += [await client.submit(question(f"number {at}")) for at in range(5)]
        tell_workers(helix, signal.SIGCONT)
        ends = await asyncio.gather(*(client.end_of(request) for request in waiting))
        assert {end["status"] for end in ends} == {"completed"}
        assert await books.ends(waiting) == dict.fromkeys(waiting, 1)
        assert await books.usage(waiting) == dict.fromkeys(waiting, 1)
        assert '"group_was_lost"' in helix.stderr.read_text()


async def test_what_is_cut_off_the_log_is_read_as_before(helix: Helix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimmer, "CROWDED", 0.0)
    async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
        first = await client.complete(question("cut me off"), idempotency_key="cut")
        # A node of the stream holds a few kilobytes; those behind it let it go.
        await asyncio.gather(*(client.complete(question(f"after {at}")) for at in range(30)))
        last = await books.log.last_event_id(0)

        async def archived() -> bool:
            where = "SELECT entry_id FROM checkpoints WHERE projection = 'archive'"
            return str(await books.database.fetchval(where)) == last

        await soon(archived)
        await books.caught_up()
        async with engine(helix.facts["database_url"]) as database:
            (cut,) = await trimmer.trim_all(books.log, database)
        assert cut.refused is None
        left = [entry for entry, _ in await books.log.read_events(0, BEGINNING, count=10_000)]
        assert len(left) < 100
        assert first.request not in {said.subject for said in await books.events()}

        view = await client.view(first.request)
        assert view["response"]["choices"][0]["message"]["content"] == "cut me off"
        again = await client.complete(question("cut me off"), idempotency_key="cut")
        assert (again.request, again.text) == (first.request, "cut me off")
        found = await helix.ask("log", "--request", first.request)
        assert [one["subject"] for one in found] == [first.request]
        assert (await helix.ask("replay", "usage", "--dry-run"))["equal"]
        assert (await helix.ask("replay", "archive", "--verify"))["equal"]


async def test_an_emptied_log_stops_the_projector_until_a_person_has_decided(helix: Helix) -> None:
    async with client_of(helix.base_url, helix.facts["api_key"]) as client, books_of(helix.now()) as books:
        before = (await client.complete(question("before"))).request
        await books.caught_up()
        await books.log.command("FLUSHALL")

        async def alarmed() -> bool:
            return '"log_went_back"' in helix.stderr.read_text()

        await soon(alarmed)

        async def answered() -> bool:
            return (await client.complete(question("after"))).status == 200

        await soon(answered)
        (fault,) = (await helix.ask("reseed"))["partitions"]
        assert fault["archived"] > fault["added"]
        await helix.ask("reseed", "--lost")
        after = await client.complete(question("and on"))
        assert set((await books.usage([before, after.request])).values()) == {1}
        assert (await client.view(before))["status"] == "completed"
