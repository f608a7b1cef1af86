"""The same answer, however it is fetched: waited for, streamed, polled, or followed over a line that breaks at every frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.client import Client, chunks, question, said

WORDS = "the quick  brown fox — jumps\n\nover 12 lazy dogs, naïvely 🦊  "


@dataclass(frozen=True)
class Frame:
    """One event of `/v1/requests/{id}/events`."""

    id: str
    event: str
    data: Any


@dataclass(frozen=True)
class Followed:
    """A whole event stream."""

    frames: tuple[Frame, ...]

    @property
    def words(self) -> str:
        pieces = [frame.data for frame in self.frames if frame.event == "message" and frame.data != "[DONE]"]
        return "".join(choice["delta"].get("content") or "" for piece in pieces for choice in piece["choices"])

    @property
    def last(self) -> Frame:
        return self.frames[-1]


def frames_of(raw: bytes) -> tuple[Frame, ...]:
    """The events of a stream of server-sent events; what its connection broke off in the middle of is none."""
    found = []
    for block in raw.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            data = fields["data"] if fields["data"] == "[DONE]" else json.loads(fields["data"])
            found.append(Frame(fields["id"], fields.get("event", "message"), data))
    return tuple(found)


async def follow_whole(client: Client, request: str) -> Followed:
    answer = await client.get(f"/v1/requests/{request}/events")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return Followed(frames_of(answer.body))


async def follow_cut_at_every_frame(client: Client, request: str) -> Followed:
    """A follower that loses its line after each frame, and goes on with the id of the last one it has had."""
    had: list[Frame] = []
    while True:
        headers = {"last-event-id": had[-1].id} if had else {}
        async with client.sending("GET", f"/v1/requests/{request}/events", **headers) as answer:
            if answer.status == 204:
                return Followed(tuple(had))
            raw = b""
            async for piece in answer.content.iter_any():
                raw += piece
                if found := frames_of(raw):
                    had.append(found[0])
                    break
            else:
                return Followed(tuple(had))


async def test_waited_streamed_polled_and_followed_over_a_broken_line_are_word_for_word_the_same(
    client: Client,
) -> None:
    waited = await client.complete(question(WORDS))
    streamed = await client.complete(question(WORDS, stream=True))
    asked = await client.submit(question(WORDS))
    polled = await client.end_of(asked)
    slowly = question(f"[chunk_delay_ms=15] {WORDS}", "sandbox/faulty", stream=True)
    followed = await follow_cut_at_every_frame(client, await client.submit(slowly))

    assert waited.text == WORDS
    assert streamed.text == WORDS
    assert polled["response"]["choices"][0]["message"]["content"] == WORDS
    assert followed.words == WORDS
    assert followed.last.data["response"]["choices"][0]["message"]["content"] == WORDS


async def test_a_line_cut_at_every_frame_shows_the_same_frames_as_a_whole_one(client: Client) -> None:
    slowly = question(f"[chunk_delay_ms=10] {WORDS}", "sandbox/faulty", stream=True)
    request = await client.submit(slowly)
    cut = await follow_cut_at_every_frame(client, request)
    whole = await follow_whole(client, request)
    assert cut.frames == whole.frames
    assert len({frame.id for frame in whole.frames}) == len(whole.frames)


async def test_after_in_the_query_means_the_same_as_last_event_id(client: Client) -> None:
    request = (await client.complete(question(WORDS, stream=True))).request
    whole = await follow_whole(client, request)
    for place, frame in enumerate(whole.frames[:-1]):
        by_query = await client.get(f"/v1/requests/{request}/events?after={frame.id}")
        by_header = await client.get(f"/v1/requests/{request}/events", last_event_id=frame.id)
        assert frames_of(by_query.body) == frames_of(by_header.body) == whole.frames[place + 1 :]


async def test_behind_the_last_frame_there_is_nothing_more(client: Client) -> None:
    request = (await client.complete(question(WORDS, stream=True))).request
    whole = await follow_whole(client, request)
    assert (await client.get(f"/v1/requests/{request}/events", last_event_id=whole.last.id)).status == 204


async def test_a_request_that_was_not_streamed_can_be_followed_too(client: Client) -> None:
    request = await client.submit(question(WORDS))
    whole = await follow_whole(client, request)
    assert whole.last.event == "completed"
    assert whole.last.data == await client.view(request)


async def test_a_stream_on_openais_route_has_neither_ids_nor_retry_lines(client: Client) -> None:
    streamed = await client.complete(question(WORDS, stream=True, stream_options={"include_usage": True}))
    lines = streamed.body.split(b"\n")
    assert [line for line in lines if line and not line.startswith((b"data: ", b":"))] == []
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert said(streamed.body) == WORDS
    assert [chunk["usage"]["total_tokens"] for chunk in chunks(streamed.body) if chunk.get("usage")] != []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
async def test_another_account_finds_no_such_request(client: Client, stranger: Client, method: str, path: str) -> None:
    request = (await client.complete(question("mine"))).request
    refused = await stranger.send(method, f"/v1/requests/{request}{path}")
    assert (refused.status, refused.error["code"]) == (404, "request_not_found")


async def test_an_event_id_of_no_stream_is_refused(client: Client) -> None:
    request = (await client.complete(question("short"))).request
    refused = await client.get(f"/v1/requests/{request}/events", last_event_id="the beginning")
    assert (refused.status, refused.error["param"]) == (400, "after")
