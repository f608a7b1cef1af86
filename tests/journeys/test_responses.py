"""OpenAI's responses through a whole Helix: kept, gone on from, followed, cancelled, deleted, and found again after an hour."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from app.log import keys
from tests.fakes.provider import EVENTS, Provider, Script, openai_events
from tests.journeys.books import Books, soon
from tests.journeys.client import Client, chunks
from tests.journeys.running import Helix

WORDS = "one two three"


def ask(said: object, model: str = "sandbox/echo", **more: object) -> dict[str, object]:
    return {"model": model, "input": said, **more}


async def made(client: Client, body: object, **headers: str) -> Any:
    answer = await client.post("/v1/responses", body, **headers)
    assert answer.status == 200, answer.body
    return answer.json


def text(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


def request_of(response: Any) -> str:
    return "req_" + str(response["id"]).removeprefix("resp_")


def deltas(events: list[Any]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def events_of(client: Client, id: str, query: str = "") -> list[Any]:
    answer = await client.get(f"/v1/responses/{id}?stream=true{query}")
    assert answer.status == 200, answer.body
    assert b"\nid:" not in answer.body and b"retry:" not in answer.body
    return chunks(answer.body)


async def ended(client: Client, id: str) -> Any:
    async def there() -> bool:
        return (await client.get(f"/v1/responses/{id}")).json["status"] not in ("queued", "in_progress")

    await soon(there)
    return (await client.get(f"/v1/responses/{id}")).json


async def forgotten(books: Books, request: str) -> None:
    """The log server has let go of it, as it does after an hour."""
    await books.caught_up()
    await books.log.command("DEL", keys.live(0, request), keys.request(0, request))


async def test_a_response_is_the_same_when_it_is_fetched_and_when_it_is_remembered(
    client: Client, books: Books
) -> None:
    response = await made(client, ask(WORDS, metadata={"a": "b"}, instructions="Be brief."))
    assert (response["status"], text(response), response["metadata"]) == ("completed", WORDS, {"a": "b"})
    fetched = (await client.get(f"/v1/responses/{response['id']}")).json
    await forgotten(books, request_of(response))
    remembered = (await client.get(f"/v1/responses/{response['id']}")).json
    assert fetched == remembered == response


async def test_a_stream_has_numbers_without_a_gap_and_ends_with_the_whole_response(client: Client) -> None:
    answer = await client.post("/v1/responses", ask(WORDS, stream=True))
    events = chunks(answer.body)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert deltas(events) == text(events[-1]["response"]) == WORDS
    assert answer.body.count(b"event: ") == len(events)


async def test_a_stream_can_be_followed_from_behind_any_event(client: Client, books: Books) -> None:
    whole = chunks((await client.post("/v1/responses", ask(WORDS, stream=True))).body)
    id = whole[0]["response"]["id"]
    assert await events_of(client, id) == whole
    assert await events_of(client, id, "&starting_after=3") == whole[4:]
    # After an hour there are no frames: what is left to say to one who has heard some is how it ended.
    await forgotten(books, request_of(whole[0]["response"]))
    (last,) = await events_of(client, id, "&starting_after=3")
    assert (last["type"], last["response"]) == ("response.completed", whole[-1]["response"])
    told_anew = await events_of(client, id)
    assert (deltas(told_anew), told_anew[-1]["response"]) == (WORDS, whole[-1]["response"])


async def test_in_the_background_it_goes_on_by_itself_and_can_be_followed(client: Client, books: Books) -> None:
    begun = await made(client, ask(f"[delay_ms=700] {WORDS}", "sandbox/faulty", background=True))
    assert begun["status"] in ("queued", "in_progress") and begun["background"] is True
    events = await events_of(client, begun["id"])
    assert (deltas(events), events[-1]["type"]) == (WORDS, "response.completed")
    response = await ended(client, begun["id"])
    assert (response["status"], text(response)) == ("completed", WORDS)
    assert await books.usage([request_of(begun)]) == {request_of(begun): 1}


async def test_a_stream_in_the_background_outlives_its_client(client: Client) -> None:
    body = ask(f"[chunk_delay_ms=100] {WORDS}", "sandbox/faulty", background=True, stream=True)
    async with client.sending("POST", "/v1/responses", body) as answer:
        first = await answer.content.readuntil(b"\n\n")
    id = chunks(first)[0]["response"]["id"]
    events = await events_of(client, id, "&starting_after=0")
    assert [event["sequence_number"] for event in events] == list(range(1, len(events) + 1))
    assert deltas(events) == WORDS


async def test_what_was_said_before_is_asked_again_with_the_new_question(client: Client, provider: Provider) -> None:
    first = await made(client, ask("first", instructions="Not taken over."))
    second = await made(client, ask("second", previous_response_id=first["id"]))
    provider.scripts[:] = [Script(openai_events(["third"]), content_type=EVENTS)]
    third = await client.post(
        "/v1/responses", ask("last", "near/small", previous_response_id=second["id"], stream=True)
    )
    assert third.status == 200, third.body
    asked = json.loads(provider.asked[-1].body)
    said = [(message["role"], message["content"]) for message in asked["messages"]]
    assert [(role, content if isinstance(content, str) else content[0]["text"]) for role, content in said] == [
        ("user", "first"),
        ("assistant", "first"),
        ("user", "second"),
        ("assistant", "second"),
        ("user", "last"),
    ]
    assert chunks(third.body)[-1]["response"]["previous_response_id"] == second["id"]
    listed = (await client.get(f"/v1/responses/{second['id']}/input_items")).json
    assert [item["content"][0]["text"] for item in listed["data"]] == ["second"]


async def test_a_chain_is_found_in_the_projection_and_on_the_log(client: Client, books: Books) -> None:
    first = await made(client, ask("one"))
    second = await made(client, ask("two", previous_response_id=first["id"]))
    await forgotten(books, request_of(first))
    third = await made(client, ask("three", previous_response_id=second["id"]))
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"] > first["usage"]["input_tokens"]


async def test_nobody_goes_on_from_what_is_unknown_or_another_accounts(client: Client, stranger: Client) -> None:
    theirs = await made(stranger, ask("mine"))
    for id in (theirs["id"], "resp_" + "0" * 32, "resp_nobody", "x"):
        refused = await client.post("/v1/responses", ask("more", previous_response_id=id))
        assert (refused.status, refused.error["code"]) == (400, "previous_response_not_found")
        assert (await client.get(f"/v1/responses/{id}")).status == 404
        assert (await client.send("DELETE", f"/v1/responses/{id}")).status == 404
        assert (await client.post(f"/v1/responses/{id}/cancel")).status == 404
        assert (await client.get(f"/v1/responses/{id}/input_items")).status == 404


async def test_what_is_not_to_be_kept_is_not_found_though_its_request_is(client: Client, books: Books) -> None:
    response = await made(client, ask(WORDS, store=False))
    assert response["store"] is False
    assert (await client.get(f"/v1/responses/{response['id']}")).status == 404
    await forgotten(books, request_of(response))
    assert (await client.get(f"/v1/responses/{response['id']}")).status == 404
    assert (await client.view(request_of(response)))["status"] == "completed"


async def test_a_cancelled_response_lets_its_provider_go(client: Client, books: Books, provider: Provider) -> None:
    provider.scripts[:] = [Script(openai_events(["one ", "two "])[:3], content_type=EVENTS, ending="silent")]
    begun = await made(client, ask("on and on", "near/small", background=True))

    async def running() -> bool:
        return bool(provider.asked)

    await soon(running)
    stopped = (await client.post(f"/v1/responses/{begun['id']}/cancel")).json
    assert stopped["status"] == "cancelled"
    async with asyncio.timeout(30):
        await provider.left.wait()
    again = (await client.post(f"/v1/responses/{begun['id']}/cancel")).json
    assert again == stopped
    assert (await events_of(client, begun["id"]))[-1]["response"]["status"] == "cancelled"
    assert await books.ends([request_of(begun)]) == {request_of(begun): 1}


async def test_a_deleted_response_is_gone_at_once_and_after_a_replay(
    helix: Helix, client: Client, books: Books
) -> None:
    response, other = await made(client, ask("a canary")), await made(client, ask("another"))
    id, request = response["id"], request_of(response)
    deleted = await client.send("DELETE", f"/v1/responses/{id}")
    assert deleted.json == {"id": id, "object": "response", "deleted": True}
    assert (await client.get(f"/v1/responses/{id}")).status == 404
    assert (await client.get(f"/v1/responses/{other['id']}")).status == 200
    going_on = await client.post("/v1/responses", ask("more", previous_response_id=id))
    assert going_on.error["code"] == "previous_response_not_found"
    await books.caught_up()
    view = await client.view(request)
    assert (view["status"], view.get("response")) == ("completed", None)
    compared = await helix.ask("replay", "responses", "--verify")
    assert (compared["equal"], compared["swapped"]) == (True, True)
    row = await books.database.fetchrow("SELECT kept, answer, deleted_at FROM responses WHERE id = $1", request)
    assert row is not None and row["kept"] is row["answer"] is None and row["deleted_at"] is not None
    assert await books.database.fetchval("SELECT length(answer) FROM requests WHERE id = $1", request) == 0


async def test_a_failure_is_a_failed_response(client: Client, books: Books) -> None:
    begun = await made(client, ask("[status=400] no", "sandbox/faulty", background=True))
    failed = await ended(client, begun["id"])
    assert (failed["status"], failed["error"]["code"], failed["output"]) == ("failed", "invalid_prompt", [])
    events = await events_of(client, begun["id"])
    assert [event["type"] for event in events] == ["response.created", "response.failed"]
    await forgotten(books, request_of(begun))
    assert (await client.get(f"/v1/responses/{begun['id']}")).json == failed


async def test_a_stream_that_breaks_off_ends_with_a_failed_response(client: Client) -> None:
    events = chunks(
        (await client.post("/v1/responses", ask("[error_after=2] a b c", "sandbox/faulty", stream=True))).body
    )
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.failed", "failed")


async def test_six_of_codexs_retries_are_one_request_and_one_bill(client: Client, books: Books) -> None:
    body = ask("[chunk_delay_ms=100] one two three four five", "sandbox/faulty", stream=True, store=False)
    session, requests = "0195-a-session", set()
    for _ in range(5):  # a client that loses its connection in the middle of the stream
        async with client.sending("POST", "/v1/responses", body, session_id=session) as answer:
            requests.add(answer.headers["x-request-id"])
            await answer.content.readuntil(b"output_item.added")
    last = await client.post("/v1/responses", body, session_id=session)
    assert chunks(last.body)[-1]["type"] == "response.completed"
    assert requests == {last.request}
    assert await books.usage(requests) == {last.request: 1}
    elsewhere = await client.post("/v1/responses", body, session_id="another-session")
    assert elsewhere.request not in requests


async def test_background_needs_to_be_kept(client: Client) -> None:
    refused = await client.post("/v1/responses", ask("x", background=True, store=False))
    assert (refused.status, refused.error["param"]) == (400, "background")


async def test_the_items_of_an_input_come_in_pages(client: Client) -> None:
    said = [{"role": "user", "content": f"number {number}"} for number in range(5)]
    response = await made(client, ask(said))
    path = f"/v1/responses/{response['id']}/input_items"
    first = (await client.get(f"{path}?limit=2&order=asc")).json
    rest = (await client.get(f"{path}?order=asc&after={first['last_id']}")).json
    items = [item["content"][0]["text"] for page in (first, rest) for item in page["data"]]
    assert (items, first["has_more"], rest["has_more"]) == ([f"number {number}" for number in range(5)], True, False)
    newest = (await client.get(f"{path}?limit=1")).json
    assert newest["data"][0]["content"][0]["text"] == "number 4"
    for query in ("limit=0", "order=up", "after=nobody"):
        assert (await client.get(f"{path}?{query}")).status == 400
