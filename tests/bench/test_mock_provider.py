"""The mock provider speaks OpenAI's wire, as its models' names say."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.bench import mock_provider
from app.bench.mock_provider import WORD, Behaviour, Request, behaviour, cut


def question(model: str, **more: object) -> bytes:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], **more})
    head = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


async def answered(port: int, sent: bytes, until: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = await reader.readuntil(until)
    writer.close()
    await writer.wait_closed()
    return received


@pytest.mark.parametrize(
    ("model", "does"),
    [
        ("mock-l0-n16", Behaviour(latency_s=0.0, words=16, delay_s=0.0)),
        ("mock-l250-n1-d20", Behaviour(latency_s=0.25, words=1, delay_s=0.02)),
        ("mock-l0-n0", None),
        ("mock-l0-n99999", None),
        ("mock-l0", None),
        ("gpt-4o", None),
    ],
)
def test_a_models_name_says_what_it_does(model: str, does: Behaviour | None) -> None:
    assert behaviour(model) == does


def test_a_request_is_cut_out_wherever_the_wire_cut_it() -> None:
    one = question("mock-l0-n16")
    for end in range(len(one)):
        assert cut(one[:end]) is None
    found = cut(one + b"POST")
    assert found is not None
    assert found[0] == Request(b"POST", b"/v1/chat/completions", one.partition(b"\r\n\r\n")[2])
    assert found[1] == b"POST"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_a_request_without_an_end_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"length|long"):
        cut(sent)


def test_a_plain_answer_is_openais() -> None:
    head, _, body = mock_provider.plain("mock-l0-n16", 16).partition(b"\r\n\r\n")
    answer = ChatCompletion.model_validate_json(body, strict=True)
    assert f"content-length: {len(body)}".encode() in head
    assert answer.choices[0].message.content == (WORD * 16).strip()
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_stream_is_openais(mock_port: int, include_usage: bool) -> None:
    asked = question("mock-l0-n3-d1", stream=True, stream_options={"include_usage": include_usage})
    body = (await answered(mock_port, asked, b"0\r\n\r\n")).partition(b"\r\n\r\n")[2]
    data = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    chunks = [ChatCompletionChunk.model_validate_json(said, strict=True) for said in data[:-1]]
    assert data[-1] == b"[DONE]"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == WORD * 3
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([3] if include_usage else [])


async def test_a_burst_says_the_same_as_a_slow_stream(mock_port: int) -> None:
    burst, slow = [
        await answered(mock_port, question(model, stream=True), b"0\r\n\r\n")
        for model in ("mock-l0-n5-d0", "mock-l0-n5-d1")
    ]
    assert burst == slow.replace(b"n5-d1", b"n5-d0")


async def test_two_questions_in_one_packet_get_two_answers(mock_port: int) -> None:
    both = question("mock-l1-n2") + question("mock-l0-n3", stream=True)
    received = await answered(mock_port, both, b"0\r\n\r\n")
    assert received.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (question("nobody"), b"404"),
        (question("mock-l0-n1").replace(b"/v1/chat", b"/v1/cat"), b"404"),
        (question("mock-l0-n1").replace(b'{"model"', b'["model"'), b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_question_is_refused(mock_port: int, sent: bytes, status: bytes) -> None:
    assert (await answered(mock_port, sent, b"\r\n")).split()[1] == status
