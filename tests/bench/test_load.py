"""The load generator counts every question once, as answered or as failed, and always ends."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import orjson
import pytest

from app.bench.client import Broken, Caller
from app.bench.load import Load, Outcome, Plan, in_own_process


def plan(port: int, model: str = "mock-l0-n16", *, stream: bool = False, words: int = 16) -> Plan:
    body = orjson.dumps({"model": model, "messages": [], "stream": stream}).decode()
    return Plan(
        host="127.0.0.1",
        port=port,
        path="/v1/chat/completions",
        body=body,
        words=words,
        stream=stream,
        connections=4,
        requests=50,
        seconds=20,
    )


async def serve_once(*pieces: bytes) -> int:
    """A server that reads one question on one connection, says the pieces one by one and hangs up; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()
        server.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def test_a_closed_loop_asks_as_often_as_it_was_told(mock_port: int) -> None:
    outcome = await Load(plan(mock_port)).run()
    assert (outcome.asked, outcome.answered, outcome.words, outcome.failures) == (50, 50, 50 * 16, {})
    assert outcome.first_word.count == 0


async def test_a_paced_load_asks_as_often_as_it_was_told(mock_port: int) -> None:
    outcome = await Load(replace(plan(mock_port), rate_per_s=1000.0)).run()
    assert (outcome.asked, outcome.answered, outcome.failures) == (50, 50, {})


async def test_a_paced_load_waits_for_a_free_connection_and_loses_no_question(mock_port: int) -> None:
    slow = replace(plan(mock_port, "mock-l20-n16"), rate_per_s=1000.0, connections=2, requests=20)
    outcome = await Load(slow).run()
    assert (outcome.asked, outcome.answered) == (20, 20)


@pytest.mark.parametrize("model", ["mock-l0-n100", "mock-l0-n100-d1"])
async def test_every_word_of_a_stream_is_counted(mock_port: int, model: str) -> None:
    outcome = await Load(replace(plan(mock_port, model, stream=True, words=100), requests=8)).run()
    assert (outcome.answered, outcome.words, outcome.first_word.count) == (8, 800, 8)


async def test_an_answer_with_too_few_words_is_a_failure(mock_port: int) -> None:
    outcome = await Load(plan(mock_port, words=17)).run()
    assert (outcome.answered, outcome.failures) == (0, {"wrong_words": 50})


async def test_a_refusal_is_a_failure(mock_port: int) -> None:
    outcome = await Load(replace(plan(mock_port, "nobody"), requests=4)).run()
    assert (outcome.answered, outcome.failures) == (0, {"http_404": 4})


async def test_nobody_there_is_a_failure_and_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    outcome = await Load(replace(plan(port), requests=4)).run()
    assert (outcome.asked, outcome.failures) == (4, {"connect": 4})


async def test_what_is_open_at_the_end_is_counted_as_unfinished(mock_port: int) -> None:
    never = replace(plan(mock_port, "mock-l60000-n16"), seconds=0.05, patience_s=0.05)
    outcome = await Load(never).run()
    assert (outcome.asked, outcome.answered, outcome.failures) == (4, 0, {"unfinished": 4})


async def test_the_generator_in_its_own_process_says_what_it_did(mock_port: int) -> None:
    outcome = await in_own_process(plan(mock_port, stream=True))
    assert (outcome.asked, outcome.answered, outcome.first_word.count, outcome.failures) == (50, 50, 50, {})


async def test_an_outcome_survives_its_way_between_processes(mock_port: int) -> None:
    outcome = await Load(plan(mock_port)).run()
    again = Outcome.decode(outcome.encode())
    assert again.latency.buckets == outcome.latency.buckets
    assert (again.asked, again.seconds, again.failures) == (outcome.asked, outcome.seconds, outcome.failures)


@pytest.mark.parametrize("wrong", [{"connections": 0}, {"requests": 10**9}, {"seconds": 0.0}, {"seconds": 10**6}])
def test_a_plan_without_bounds_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"too many|no time limit"):
        replace(plan(1), **wrong)  # type: ignore[arg-type]  # that it does not fit is the test


async def test_a_stream_is_read_alike_wherever_the_wire_cuts_it() -> None:
    said = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1c\r\ndata: lorem \n\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    for place in range(1, len(said)):
        caller = Caller("127.0.0.1", await serve_once(said[:place], said[place:]))
        answer = await caller.ask(b"POST / HTTP/1.1\r\n\r\n")
        caller.close()
        assert (answer.status, answer.words, answer.done) == (200, 1, True)
        assert answer.first_word_at is not None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nlorem", "cut"),
        (b"SSH-2.0-OpenSSH\r\n", "garbled"),
        (b"", "cut"),
    ],
)
async def test_a_broken_answer_has_a_name(said: bytes, kind: str) -> None:
    caller = Caller("127.0.0.1", await serve_once(said))
    with pytest.raises(Broken, match=kind):
        await caller.ask(b"POST / HTTP/1.1\r\n\r\n")
    caller.close()
