"""What a client is sent for what an ear hears: the right status while that can be said, an error in the stream after."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from app.http.chat import ChatDialect, HelixChatDialect
from app.http.delivery import Progress, Ticket, deliver
from app.http.dialect import COMMENT
from app.http.earlier import remembering
from app.live.listen import ClientGone, Follower, Heard
from app.log import Log, LogGone
from app.log.values import Frame
from app.vault import Vault
from events.completions import Outcome
from projections.requests import RequestRow
from tests.fakes.road import ACCOUNT, NOW, REQUEST, PlainBox, PlainVault

ANSWER = json.dumps(
    {
        "id": REQUEST,
        "created": 1,
        "model": "gpt",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    }
).encode()
REFUSAL = b'{"error": {"message": "busy", "type": "rate_limit_error", "param": null, "code": "provider_rate_limited"}}'
HIT: tuple[bytes, bytes] = (b"x-of-the-ticket", b"yes")


@dataclass
class Client:
    """One client's connection: what it was sent; it leaves when `left` is set."""

    left: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[MutableMapping[str, Any]] = field(default_factory=list)

    async def receive(self) -> MutableMapping[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        assert [message["type"] for message in self.sent[1:]] == ["http.response.body"] * (len(self.sent) - 1)
        assert [message.get("more_body", False) for message in self.sent[1:]] == [True] * (len(self.sent) - 2) + [False]
        return b"".join(message["body"] for message in self.sent[1:])


def meta(outcome: Outcome, status: int, **more: object) -> bytes:
    told = {
        "status": status,
        "outcome": outcome,
        "provider": "one",
        "model": "gpt",
        "attempts": 1,
        "cost_nanousd": 1500,
    }
    return json.dumps(told | {"routing": {"reason": "lowest price", "considered": ["one/gpt"]}} | more).encode()


def delta(text: bytes, number: int = 1, attempt: int = 1, *, restarted: bool = False) -> Heard:
    sealed = PlainBox().seal("frame", REQUEST, b"data: " + text + b"\n\n")
    told = b'{"provider": "one", "model": "gpt", "attempts": 1}' if number == 1 else b""
    return Heard(Frame("0-1", REQUEST, attempt, "d", number, told, sealed), restarted=restarted)


def last(outcome: Outcome = "completed", status: int = 200, body: bytes = ANSWER, **more: object) -> Heard:
    sealed = PlainBox().seal("answer", REQUEST, body) if body else b""
    return Heard(Frame("0-2", REQUEST, 1, "e", 9, meta(outcome, status, **more), sealed), restarted=False)


BEGUN_ANEW = Heard(Frame("0-1", REQUEST, 2, "r", 0, b"", b""), restarted=True)


async def delivered(
    *script: Heard | Exception | None,
    stream: bool,
    endpoint: str = "/v1/chat/completions",
    client: Client | None = None,
) -> Client:
    """The client, after it has been sent what an ear heard of the script."""

    async def frames() -> AsyncGenerator[Heard | None, None]:
        for one in script:
            if isinstance(one, Exception):
                raise one
            yield one
        await asyncio.Event().wait()

    client = client or Client()
    follower = Follower(frames())
    dialect = HelixChatDialect() if endpoint == "/v1/chat" else ChatDialect()
    ticket = Ticket(ACCOUNT, REQUEST, dialect, stream, (HIT,))
    # What is heard here needs no log, and the vault has what it is asked.
    log, vault = cast(Log, None), cast(Vault, PlainVault())
    try:
        await deliver(ticket, follower, log, vault, client.receive, client.send, Progress())
    finally:
        await follower.close()
    return client


async def test_a_whole_answer_is_one_body_with_its_cost_and_who_gave_it() -> None:
    client = await delivered(delta(b"1"), None, last(), stream=False)

    assert (client.status, client.body) == (200, ANSWER)
    assert client.headers[b"content-length"] == str(len(ANSWER)).encode()
    assert client.headers[b"x-helix-cost-usd"] == b"0.000001500"
    assert (client.headers[b"x-helix-provider"], client.headers[b"x-helix-attempts"]) == (b"one", b"1")
    assert client.headers[HIT[0]] == HIT[1]


async def test_helixs_own_route_adds_routing_and_cost() -> None:
    client = await delivered(last(), stream=False, endpoint="/v1/chat")

    answer = json.loads(client.body)
    assert answer["routing"] == {
        "provider": "one",
        "model": "gpt",
        "reason": "lowest price",
        "considered": ["one/gpt"],
    }
    assert answer["cost"] == {"usd": "0.000001500", "nanousd": 1500}


async def test_a_failure_has_its_status_and_how_long_to_wait() -> None:
    client = await delivered(last("failed", 429, REFUSAL, retry_after_s=7.0), stream=False)

    assert (client.status, client.body, client.headers[b"Retry-After".lower()]) == (429, REFUSAL, b"7")


async def test_a_cancelled_request_is_a_conflict() -> None:
    assert (await delivered(last("cancelled", 499, REFUSAL), stream=False)).status == 409


async def test_a_stream_passes_the_pieces_on_and_ends_properly() -> None:
    client = await delivered(delta(b"1"), delta(b"2", 2), last(body=b""), stream=True)

    assert client.status == 200
    assert client.body == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
    assert client.headers[b"content-type"].startswith(b"text/event-stream")
    assert client.headers[b"x-helix-provider"] == b"one"
    assert HIT[0] in client.headers


async def test_a_long_silence_is_bridged_by_comments_that_no_client_minds() -> None:
    client = await delivered(None, None, delta(b"1"), last(body=b""), stream=True)

    assert client.body == COMMENT * 2 + b"data: 1\n\ndata: [DONE]\n\n"


async def test_a_stream_that_fails_before_its_first_word_has_the_status_of_the_failure() -> None:
    client = await delivered(last("failed", 429, REFUSAL, retry_after_s=7.0), stream=True)

    assert (client.status, client.body) == (429, REFUSAL)


async def test_a_stream_that_fails_after_a_word_says_so_in_the_stream_and_is_not_done() -> None:
    client = await delivered(delta(b"1"), last("failed", 502, REFUSAL), stream=True)

    assert (client.status, client.body) == (200, b"data: 1\n\ndata: " + REFUSAL + b"\n\n")


async def test_two_attempts_words_are_never_mixed() -> None:
    client = await delivered(delta(b"1"), BEGUN_ANEW, delta(b"other", attempt=2), last(body=b""), stream=True)

    said, error, rest = client.body.split(b"\n\n")
    assert (said, rest) == (b"data: 1", b"")
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "restarted"


async def test_an_attempt_that_begins_anew_before_any_word_is_nobodys_business() -> None:
    client = await delivered(None, BEGUN_ANEW, delta(b"1", attempt=2), last(body=b""), stream=True)

    assert client.body == COMMENT + b"data: 1\n\ndata: [DONE]\n\n"


async def test_an_answer_that_was_not_streamed_is_cut_into_chunks_for_a_client_that_wants_a_stream() -> None:
    client = await delivered(last(), stream=True)

    *chunks, done, _ = client.body.split(b"\n\n")
    first, end = (json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks)
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]
    assert end["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert (first["object"], first["id"], done) == ("chat.completion.chunk", REQUEST, b"data: [DONE]")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_its_delivery(stream: bool) -> None:
    client = Client()
    delivering = asyncio.create_task(delivered(stream=stream, client=client))
    await asyncio.sleep(0)

    client.left.set()

    with pytest.raises(ClientGone):
        await delivering
    assert client.sent == []


@pytest.mark.parametrize("script", [[], [None], [delta(b"1")]])
async def test_a_log_that_goes_away_is_told_in_a_stream_that_has_begun(script: Sequence[Heard | None]) -> None:
    gone = LogGone("connection lost", sent=True)
    if not script:
        with pytest.raises(LogGone):
            await delivered(gone, stream=True)
        return

    client = await delivered(*script, gone, stream=True)

    assert b'"code": "log_unavailable"' in client.body


async def test_a_server_that_stops_says_so_in_a_stream_that_has_begun() -> None:
    client = Client()
    delivering = asyncio.create_task(delivered(delta(b"1"), stream=True, client=client))
    async with asyncio.timeout(5):
        while len(client.sent) < 2:  # noqa: ASYNC110  # the client has no event
            await asyncio.sleep(0)

    delivering.cancel()
    await delivering

    assert b'"code": "server_restarting"' in client.body


# What the log server has let go of.


def row(status: Outcome = "completed", http_status: int = 200, answer: bytes = ANSWER) -> RequestRow:
    return RequestRow(
        id=REQUEST,
        api_key_id="key",
        endpoint="/v1/chat/completions",
        wire="openai",
        tier="pro",
        asked_model="gpt",
        model="gpt",
        provider="one",
        stream=False,
        status=status,
        http_status=http_status,
        finish_reason="stop",
        why=None,
        conversation_id=None,
        input_tokens=1,
        cached_input_tokens=0,
        cache_write_tokens=0,
        output_tokens=1,
        cost_nanousd=1500,
        usage_source="provider",
        billable=True,
        latency_ms=1,
        ttft_ms=None,
        attempts=(),
        routing=None,
        answer=PlainBox().seal("answer", REQUEST, answer),
        created_at=NOW,
        ended_at=NOW + timedelta(seconds=1),
    )


async def remembered(row: RequestRow, *, stream: bool) -> Client:
    client, ear = Client(), remembering(row)
    ticket = Ticket(ACCOUNT, REQUEST, ChatDialect(), stream)
    log, vault = cast(Log, None), cast(Vault, PlainVault())
    await deliver(ticket, ear, log, vault, client.receive, client.send, Progress())
    await ear.close()
    return client


async def test_an_answer_of_yesterday_is_the_answer_of_today() -> None:
    whole = await remembered(row(), stream=False)
    streamed = await remembered(row(), stream=True)

    assert (whole.status, whole.body, whole.headers[b"x-helix-cost-usd"]) == (200, ANSWER, b"0.000001500")
    assert streamed.body == (await delivered(last(), stream=True)).body


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_of_yesterday_is_the_failure_of_today(stream: bool) -> None:
    client = await remembered(row("failed", 502, REFUSAL), stream=stream)

    assert (client.status, client.body) == (502, REFUSAL)
