"""An answer that is kept is given again as a fact of its own; and who does not ask for the cache never meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from events.completions import Complete, CompletionCancelled, CompletionEnded, CompletionFailed, CompletionFinished
from events.message import Envelope, sealed_bytes
from handlers.complete import Ending
from handlers.ports import Answers, Box, Place, Ports, ProviderFailed, Read, Recalled, Stop
from handlers.recall import recall
from handlers.rules.catalogue import Catalogue
from handlers.rules.rating import Usage
from tests.fakes.road import REQUEST, Ear, ForgetfulAnswers, PlainBox, Says, ScriptedProviders, command, ports
from tests.rules.offers import offer, price

SECOND = "req_0195612f3a4b7c8d9e0f112233440002"
CHEAP = offer("cheap", at=price(1_000_000_000))
HELLO = Says(["Hello"], usage=Usage(10, 2, cached=4))


@dataclass
class Leading:
    """Writes down how the lead ended."""

    answers: RememberingAnswers
    place: Place
    ended: bool = False

    def keep(self, content: bytes, *, ttl_s: int) -> None:
        if not self.ended:
            self.ended = True
            self.answers.kept[self.place] = content
            self.answers.ttls_s.append(ttl_s)

    def leave(self) -> None:
        if not self.ended:
            self.ended = True
            self.answers.left += 1


@dataclass
class RememberingAnswers:
    """Keeps for ever, in memory and unsealed."""

    kept: dict[Place, bytes] = field(default_factory=dict)
    ttls_s: list[int] = field(default_factory=list)
    left: int = 0
    waits: asyncio.Event | None = None
    """Set when somebody waits for ever for another's answer."""

    async def find(
        self,
        place: Place,
        box: Box,
        read: Callable[[bytes], Read],
        *,
        age_s_max: int,
        patience_s: float,
        anew: bool = False,
    ) -> Recalled[Read]:
        if self.waits:
            self.waits.set()
            await asyncio.Event().wait()
        if place in self.kept and not anew:
            try:
                return Recalled(read(self.kept[place]), None)
            except ValueError:
                del self.kept[place]
        return Recalled(None, Leading(self, place))

    async def peek(self, place: Place, box: Box, read: Callable[[bytes], Read], *, age_s_max: int) -> Read | None:
        return read(self.kept[place]) if place in self.kept else None


def providers(*scripts: Says) -> ScriptedProviders:
    return ScriptedProviders(Catalogue.of((CHEAP,)), list(scripts))


async def ended(at: Envelope, reached: Ports, *, ear: Ear | None = None) -> Ending:
    """As the worker does it: what is to be kept is kept once the end is on the log."""
    ending = await recall(cast(Complete, at.body), at, reached, listener=ear or Ear(), stop=Stop())
    if ending.keep:
        ending.keep.lead.keep(ending.keep.content, ttl_s=ending.keep.ttl_s)
    return ending


def world(said: ScriptedProviders, answers: Answers) -> Ports:
    return ports(said, answers=answers)


def answer(event: CompletionEnded, request: str) -> Any:
    return json.loads(PlainBox().open("answer", request, sealed_bytes(event.answer)))


async def test_without_the_wish_nothing_is_looked_up_and_nothing_is_kept() -> None:
    answers = ForgetfulAnswers()

    ending = await ended(command(), world(providers(HELLO), answers))

    assert answers.places == []
    assert ending.keep is None
    assert not ending.event.cached


async def test_the_second_to_ask_is_given_the_answer_for_nothing_and_no_provider_is_asked() -> None:
    said, ear = providers(HELLO), Ear()
    reached = world(said, RememberingAnswers())

    first = (await ended(command(cache_ttl_s=60), reached)).event
    ending = await ended(command(request=SECOND, cache_ttl_s=60, stream=False), reached, ear=ear)

    event = ending.event
    assert isinstance(event, CompletionFinished)
    assert said.asked == ["cheap/gpt"]
    assert (ear.asked_offers, ear.said) == ([], [])
    assert answer(event, SECOND) == answer(first, REQUEST)
    assert (event.cached, event.cost_nanousd, event.saved_nanousd) == (True, 0, first.cost_nanousd)
    assert first.cost_nanousd > 0
    assert (event.billable, event.attempts, event.price_as_of, event.price_version) == (True, (), None, None)
    assert (event.input_tokens, event.cached_input_tokens, event.output_tokens) == (10, 4, 2)
    assert (event.provider, event.model, event.finish_reason, event.ttft_ms) == ("cheap", "gpt", "stop", None)
    assert event.routing is not None
    assert event.routing.reason == "answered from the response cache"
    assert sealed_bytes(event.answer) == ending.answer


async def test_the_turns_of_a_conversation_are_kept_all_the_same() -> None:
    reached = world(providers(HELLO), RememberingAnswers())

    await ended(command(cache_ttl_s=60), reached)
    event = (await ended(command(request=SECOND, cache_ttl_s=60, conversation="conv_1"), reached)).event

    assert isinstance(event, CompletionFinished)
    assert event.conversation is not None
    assert [turn.role for turn in event.conversation.turns] == ["user", "assistant"]
    last = event.conversation.turns[-1]
    assert json.loads(PlainBox().open("turn", last.id, sealed_bytes(last.content)))["content"] == "Hello"


async def test_an_answer_is_kept_only_when_its_end_is_on_the_log_and_for_as_long_as_was_asked() -> None:
    answers = RememberingAnswers()
    at = command(cache_ttl_s=60)

    ending = await recall(cast(Complete, at.body), at, world(providers(HELLO), answers), listener=Ear(), stop=Stop())
    assert answers.kept == {}
    assert ending.keep is not None
    assert ending.keep.ttl_s == 60


async def test_another_account_is_not_given_what_one_was_answered() -> None:
    said = providers(HELLO, Says(["Other"], usage=Usage(1, 1)))
    reached = world(said, RememberingAnswers())

    await ended(command(cache_ttl_s=60), reached)
    event = (await ended(command(account="another", request=SECOND, cache_ttl_s=60), reached)).event

    assert (len(said.asked), event.cached) == (2, False)


async def test_a_refresh_asks_and_replaces() -> None:
    said = providers(HELLO, Says(["Anew"], usage=Usage(1, 1)))
    reached = world(said, RememberingAnswers())

    await ended(command(cache_ttl_s=60), reached)
    await ended(command(request=SECOND, cache_ttl_s=60, cache_refresh=True), reached)
    event = (await ended(command(request=SECOND, cache_ttl_s=60), reached)).event

    assert len(said.asked) == 2
    assert answer(event, SECOND) == {"answer": "Anew"}


async def test_a_failure_is_not_kept_and_frees_those_who_wait() -> None:
    answers = RememberingAnswers()

    event = (
        await ended(
            command(cache_ttl_s=60),
            world(providers(Says(fails=ProviderFailed("bad_request", "no", status=400))), answers),
        )
    ).event

    assert isinstance(event, CompletionFailed)
    assert (answers.kept, answers.left) == ({}, 1)


async def test_a_filtered_answer_is_not_kept() -> None:
    answers = RememberingAnswers()

    await ended(command(cache_ttl_s=60), world(providers(Says(["no"], finish_reason="content_filter")), answers))

    assert (answers.kept, answers.left) == ({}, 1)


async def test_a_cancelled_leader_frees_those_who_wait() -> None:
    answers, stop = RememberingAnswers(), Stop()
    said = providers(Says(["Hel"], hangs=True))
    at = command(cache_ttl_s=60)
    running = asyncio.create_task(recall(cast(Complete, at.body), at, world(said, answers), listener=Ear(), stop=stop))
    await said.waiting.wait()
    stop.by = "client"
    running.cancel()

    assert isinstance((await running).event, CompletionCancelled)
    assert (answers.kept, answers.left) == ({}, 1)


async def test_a_leader_whose_process_gives_up_frees_those_who_wait() -> None:
    answers = RememberingAnswers()
    said = providers(Says(["Hel"], hangs=True))
    at = command(cache_ttl_s=60)
    running = asyncio.create_task(
        recall(cast(Complete, at.body), at, world(said, answers), listener=Ear(), stop=Stop())
    )
    await said.waiting.wait()
    running.cancel()

    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)
    assert answers.left == 1


async def test_who_is_cancelled_while_he_waits_for_another_ends_as_cancelled() -> None:
    answers, stop = RememberingAnswers(waits=asyncio.Event()), Stop()
    at = command(cache_ttl_s=60)
    running = asyncio.create_task(
        recall(cast(Complete, at.body), at, world(providers(), answers), listener=Ear(), stop=stop)
    )
    assert answers.waits is not None
    await answers.waits.wait()
    stop.by = "disconnect"
    running.cancel()

    event = (await running).event
    assert isinstance(event, CompletionCancelled)
    assert (event.by, event.billable, running.cancelling()) == ("disconnect", False, 0)


async def test_a_question_that_is_no_object_goes_to_whoever_can_say_so() -> None:
    answers = ForgetfulAnswers()

    await ended(command(cache_ttl_s=60, body=b"[]"), world(providers(HELLO), answers))

    assert answers.places == []
