"""One completion, one outcome: whatever the providers do, exactly one fact is told, and it is right about the money."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, cast

import pytest

from events.completions import (
    Complete,
    CompletionCancelled,
    CompletionEnded,
    CompletionFailed,
    CompletionFinished,
)
from events.message import Envelope, sealed_bytes
from handlers.complete import Ending, complete, give_up
from handlers.ports import ProviderFailed, Stop, TryLater
from handlers.rules.catalogue import Catalogue
from handlers.rules.rating import Usage
from tests.fakes.road import (
    ACCOUNT,
    NOW,
    REQUEST,
    Ear,
    HandClock,
    PlainBox,
    PlainVault,
    Says,
    ScriptedProviders,
    command,
    ports,
)
from tests.rules.offers import offer, price

CHEAP, DEAR, OWN = offer("cheap", at=price(1_000_000)), offer("dear", at=price(9_000_000)), offer("own", "own", at=None)
QUESTION = b'{"messages": [{"role": "user", "content": "hi"}]}'


def providers(*scripts: Says) -> ScriptedProviders:
    return ScriptedProviders(Catalogue.of((CHEAP, DEAR, OWN)), list(scripts))


async def ended(
    world: ScriptedProviders, at: Envelope, *, ear: Ear | None = None, clock: HandClock | None = None
) -> Ending:
    return await complete(cast(Complete, at.body), at, ports(world, clock=clock), listener=ear or Ear(), stop=Stop())


def answer(event: CompletionEnded) -> Any:
    return json.loads(PlainBox().open("answer", REQUEST, sealed_bytes(event.answer)))


def tried(event: CompletionEnded) -> list[tuple[str, str, str | None, int | None]]:
    return [(one.provider, one.outcome, one.why, one.status) for one in event.attempts]


async def test_an_answer_ends_as_finished_with_what_the_provider_counted() -> None:
    world, ear = providers(Says(["Hel", "lo"], usage=Usage(10, 2, cached=4))), Ear()

    ending = await ended(world, command(), ear=ear)

    event = ending.event
    assert isinstance(event, CompletionFinished)
    assert (event.outcome, event.http_status, event.finish_reason) == ("completed", 200, "stop")
    assert (event.input_tokens, event.cached_input_tokens, event.output_tokens) == (10, 4, 2)
    assert (event.usage_source, event.billable, event.price_as_of) == ("provider", True, "2026-03-01")
    assert event.cost_nanousd == round((6 * 1_000_000 + 4 * 100_000 + 2 * 2_000_000_000) / 1e6)
    assert (event.provider, event.model, event.asked_model) == ("cheap", "gpt", "gpt")
    assert tried(event) == [("cheap", "answered", None, None)]
    assert answer(event) == {"answer": "Hello"}
    assert sealed_bytes(event.answer) == ending.answer
    assert ear.said == [b'data: "Hel"\n\n', b'data: "lo"\n\n']
    assert ear.asked_offers == [("cheap/gpt", 1)]
    assert world.questions[0].body == QUESTION
    assert event.conversation is None


async def test_a_failure_goes_on_to_the_next_offer_whose_price_then_counts() -> None:
    world = providers(Says(fails=ProviderFailed("overloaded", "busy", status=503)), Says(["hi"], usage=Usage(1000, 0)))
    ear = Ear()

    event = (await ended(world, command(), ear=ear)).event

    assert isinstance(event, CompletionFinished)
    assert world.asked == ["cheap/gpt", "dear/gpt"]
    assert ear.asked_offers == [("cheap/gpt", 1), ("dear/gpt", 2)]
    assert tried(event) == [("cheap", "failed", "overloaded", 503), ("dear", "answered", None, None)]
    assert (event.provider, event.cost_nanousd) == ("dear", 9000)
    assert event.routing is not None
    assert event.routing.considered == ("cheap/gpt", "dear/gpt")


async def test_the_same_offer_is_asked_again_after_the_pause_it_wants() -> None:
    busy = ProviderFailed("rate_limited", "slow down", status=429, retry_after_s=0.001)
    world = providers(Says(fails=busy), Says(fails=busy), Says(["hi"], usage=Usage(1, 1)))

    event = (await ended(world, command(model="cheap/gpt"))).event

    assert isinstance(event, CompletionFinished)
    assert world.asked == ["cheap/gpt"] * 3
    assert [one.outcome for one in event.attempts] == ["failed", "failed", "answered"]


async def test_a_provider_that_wants_too_long_a_pause_is_not_waited_for_and_the_client_is_told_how_long() -> None:
    world = providers(Says(fails=ProviderFailed("rate_limited", "slow down", status=429, retry_after_s=60.0)))

    ending = await ended(world, command(model="cheap/gpt"))

    assert isinstance(ending.event, CompletionFailed)
    assert (ending.event.http_status, ending.retry_after_s, ending.event.why) == (429, 60.0, "rate_limited")


async def test_a_bad_question_is_asked_of_nobody_else_and_nothing_is_billed() -> None:
    refused = ProviderFailed("bad_request", "`n` is no number", status=400, code="invalid_type", param="n")
    world = providers(Says(fails=refused))

    event = (await ended(world, command())).event

    assert isinstance(event, CompletionFailed)
    assert (event.http_status, event.why, event.billable, event.cost_nanousd) == (400, "bad_request", False, 0)
    assert (event.price_as_of, event.input_tokens, event.output_tokens) == (None, 0, 0)
    assert world.asked == ["cheap/gpt"]
    assert answer(event) == {
        "error": {"message": "`n` is no number", "type": "invalid_request_error", "param": "n", "code": "invalid_type"}
    }


async def test_nothing_is_asked_again_once_text_went_out_and_what_was_heard_is_billed() -> None:
    world = providers(Says(["Hel"], fails=ProviderFailed("cut", "reset by peer")))

    event = (await ended(world, command())).event

    assert isinstance(event, CompletionFailed)
    assert (world.asked, event.why, event.http_status) == (["cheap/gpt"], "cut", 502)
    assert (event.billable, event.usage_source) == (True, "estimated")
    assert (event.input_tokens, event.output_tokens) == (len(QUESTION), 3)


async def test_text_that_no_client_has_seen_does_not_stand_in_the_way_of_another_offer() -> None:
    world = providers(Says(["Hel"], fails=ProviderFailed("cut", "reset by peer")), Says(["Hi"], usage=Usage(1, 1)))

    event = (await ended(world, command(stream=False))).event

    assert isinstance(event, CompletionFinished)
    assert answer(event) == {"answer": "Hi"}
    assert event.ttft_ms is None


async def test_every_offer_is_tried_and_the_last_failure_is_the_answer() -> None:
    world = providers(
        Says(fails=ProviderFailed("connect", "refused")), Says(fails=ProviderFailed("auth", "bad key", status=401))
    )

    event = (await ended(world, command())).event

    assert isinstance(event, CompletionFailed)
    assert tried(event) == [("cheap", "failed", "connect", None), ("dear", "failed", "auth", 401)]
    assert (event.provider, event.why, event.http_status) == ("dear", "auth", 502)


async def test_a_model_that_nobody_offers_fails_without_a_call() -> None:
    world = providers()

    event = (await ended(world, command(model="unheard-of"))).event

    assert isinstance(event, CompletionFailed)
    assert (event.why, event.provider, event.attempts, event.billable) == ("not_found", None, (), False)


async def test_a_request_whose_deadline_has_passed_asks_nobody() -> None:
    world = providers()

    event = (await ended(world, command(deadline_s=-1))).event

    assert isinstance(event, CompletionFailed)
    assert (event.why, event.http_status, event.attempts, world.asked) == ("timeout", 504, (), [])
    assert (event.provider, event.model) == (None, None)


async def test_a_deadline_that_passes_between_two_calls_ends_the_second_before_it_begins() -> None:
    world = providers(Says(fails=ProviderFailed("overloaded", "busy", status=503)))

    event = (await ended(world, command(deadline_s=25), clock=HandClock(step=timedelta(seconds=10)))).event

    assert isinstance(event, CompletionFailed)
    assert (event.why, event.provider, len(event.attempts)) == ("timeout", "cheap", 1)


async def test_each_call_gets_the_time_that_is_left() -> None:
    world = providers(Says(["hi"], usage=Usage(1, 1)))

    await ended(world, command(deadline_s=42))

    assert world.deadlines_s == [42.0]


async def test_a_model_without_a_price_costs_nothing_and_is_still_counted() -> None:
    world = providers(Says(["hi"], usage=Usage(1000, 1000)))

    event = (await ended(world, command(model="own"))).event

    assert (event.cost_nanousd, event.price_as_of, event.billable, event.input_tokens) == (0, None, True, 1000)


async def test_an_answer_without_a_count_is_counted_here() -> None:
    world = providers(Says(["Hello"]))

    event = (await ended(world, command())).event

    assert isinstance(event, CompletionFinished)
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("estimated", len(QUESTION), 5)


async def test_a_cancelled_answer_records_what_was_heard() -> None:
    world, stop = providers(Says(["Hel"], hangs=True)), Stop()
    at = command()
    running = asyncio.create_task(complete(cast(Complete, at.body), at, ports(world), listener=Ear(), stop=stop))
    await world.waiting.wait()

    stop.by = "client"
    running.cancel()
    event = (await running).event

    assert isinstance(event, CompletionCancelled)
    assert (event.by, event.billable, event.usage_source, event.output_tokens) == ("client", True, "estimated", 3)
    assert event.cost_nanousd > 0
    assert tried(event) == [("cheap", "cancelled", None, None)]
    assert world.closed == 1
    assert running.cancelling() == 0


async def test_a_call_cancelled_before_its_first_word_is_not_billed() -> None:
    world, stop = providers(Says(hangs=True)), Stop()
    at = command()
    running = asyncio.create_task(complete(cast(Complete, at.body), at, ports(world), listener=Ear(), stop=stop))
    await world.waiting.wait()

    stop.by = "disconnect"
    running.cancel()
    event = (await running).event

    assert isinstance(event, CompletionCancelled)
    assert (event.by, event.billable, event.cost_nanousd) == ("disconnect", False, 0)


async def test_a_request_cancelled_before_it_is_taken_up_asks_nobody() -> None:
    world, at = providers(), command()

    ending = await complete(cast(Complete, at.body), at, ports(world), listener=Ear(), stop=Stop("client"))

    assert isinstance(ending.event, CompletionCancelled)
    assert (world.asked, ending.event.attempts, ending.event.provider) == ([], (), None)


async def test_a_request_cancelled_in_the_pause_between_two_calls_keeps_the_first_in_its_list() -> None:
    busy = ProviderFailed("rate_limited", "slow down", status=429, retry_after_s=4.0)
    world, stop, at = providers(Says(fails=busy)), Stop(), command(model="cheap/gpt")
    running = asyncio.create_task(complete(cast(Complete, at.body), at, ports(world), listener=Ear(), stop=stop))
    for _ in range(10):
        await asyncio.sleep(0)

    stop.by = "client"
    running.cancel()
    event = (await running).event

    assert isinstance(event, CompletionCancelled)
    assert tried(event) == [("cheap", "failed", "rate_limited", 429)]
    assert not event.billable


async def test_an_abandoned_request_tells_nothing_and_closes_the_provider() -> None:
    world, at = providers(Says(["Hel"], hangs=True)), command()
    running = asyncio.create_task(complete(cast(Complete, at.body), at, ports(world), listener=Ear(), stop=Stop()))
    await world.waiting.wait()

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.closed == 1


async def test_a_conversation_gets_the_new_messages_and_the_answer_each_sealed_for_itself() -> None:
    history = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "and now?"},
    ]
    body = json.dumps({"messages": history}).encode()
    world = providers(Says(["bye"], usage=Usage(1, 1)))

    event = (await ended(world, command(conversation="conv_1", body=body))).event

    assert isinstance(event, CompletionFinished)
    assert event.conversation is not None
    assert event.conversation.conversation == "conv_1"
    turns = event.conversation.turns
    opened = [json.loads(PlainBox().open("turn", turn.id, sealed_bytes(turn.content))) for turn in turns]
    assert opened == [history[3], {"role": "assistant", "content": "bye"}]
    assert [turn.role for turn in turns] == ["user", "assistant"]
    assert len({turn.id for turn in turns}) == 2


async def test_a_failed_completion_adds_nothing_to_its_conversation() -> None:
    world = providers(Says(fails=ProviderFailed("bad_request", "no", status=400)))

    event = (await ended(world, command(conversation="conv_1"))).event

    assert "conversation" not in event.model_dump()


async def test_a_command_that_killed_its_workers_is_given_up_as_failed_and_free() -> None:
    at = command()

    ending = give_up(cast(Complete, at.body), at, PlainBox(), ports(providers()), why="parked", attempts=5)

    event = ending.event
    assert isinstance(event, CompletionFailed)
    assert (event.why, event.http_status, event.billable, event.attempts) == ("parked", 500, False, ())
    assert answer(event)["error"]["code"] == "parked"


async def test_an_account_whose_key_cannot_be_had_now_is_tried_later() -> None:
    world, at = providers(), command()
    later = ports(world, vault=PlainVault([TryLater()]))

    with pytest.raises(TryLater):
        await complete(cast(Complete, at.body), at, later, listener=Ear(), stop=Stop())
    assert world.asked == []


async def test_the_fact_says_when_it_was_accepted_and_how_long_it_took() -> None:
    world = providers(Says(["hi"], usage=Usage(1, 1)))

    event = (await ended(world, command(), clock=HandClock(now=NOW + timedelta(milliseconds=1500)))).event

    assert (event.accepted_at, event.latency_ms) == (NOW, 1500)
    assert event.attempts[0].started_at == event.attempts[0].ended_at == NOW + timedelta(milliseconds=1500)


async def test_the_question_opens_only_as_this_accounts_and_this_requests() -> None:
    at = command(account="another")

    with pytest.raises(Exception, match="not sealed"):
        await ended(providers(), at.model_copy(update={"account": ACCOUNT}))
