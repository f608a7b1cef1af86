"""A question that means the same is given the same answer, where the client has said that this will do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from events.completions import Complete, CompletionCancelled, CompletionFinished
from events.message import Envelope
from handlers.complete import Ending
from handlers.ports import Box, Place, Ports, ProviderFailed, Question, Stop, Transcript
from handlers.recall import recall
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.likeness import Neighbour
from handlers.rules.rating import Usage
from tests.fakes.road import ACCOUNT, Ear, Says, ScriptedProviders, command, ports
from tests.handlers.test_recall import RememberingAnswers
from tests.rules.offers import offer, price

EMBEDDER = Offer("own", "embedder", "embedder", "openai", None, kind="embedding", auto=False)
CHEAP = offer("cheap", at=price(1_000_000_000))
VECTORS = {
    "How do I reset my password?": [1.0, 0.0],
    "I forgot my password, what now?": [0.99, 0.05],
    "What is the weather like?": [0.0, 1.0],
}


@dataclass
class Embedding(ScriptedProviders):
    """Answers embeddings from a list of words, everything else from its scripts."""

    embedded: list[str] = field(default_factory=list)
    broken: ProviderFailed | None = None
    hangs: asyncio.Event | None = None
    """Set when an embedding is asked for that never comes."""

    async def ask(
        self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float, key: int = 0
    ) -> None:
        if question.wire != "embeddings":
            await super().ask(offer, question, heard, deadline_s=deadline_s, key=key)
            return
        if self.hangs:
            self.hangs.set()
            await asyncio.Event().wait()
        if self.broken:
            raise self.broken
        words = json.loads(question.body)["input"]
        self.embedded.append(words)
        heard.usage = Usage(7, 0)
        heard.answer = json.dumps({"data": [{"embedding": VECTORS[words]}]}).encode()


@dataclass
class Remembered:
    """Neighbours in memory."""

    model: str = "embedder"
    noted: dict[Place, list[Neighbour]] = field(default_factory=dict)
    vectors: list[int | None] = field(default_factory=list)

    async def neighbours(self, group: Place, box: Box) -> Sequence[Neighbour]:
        return self.noted.get(group, [])

    def note(self, group: Place, neighbour: Neighbour, box: Box, *, ttl_s: int) -> None:
        self.noted.setdefault(group, []).append(neighbour)

    def made(self, usage: Usage | None) -> None:
        self.vectors.append(usage.input if usage else None)


@dataclass
class World:
    """One worker's surroundings, and what it was asked."""

    said: Embedding = field(
        default_factory=lambda: Embedding(
            Catalogue.of((CHEAP, EMBEDDER)), always=Says(["an answer"], usage=Usage(10, 2))
        )
    )
    answers: RememberingAnswers = field(default_factory=RememberingAnswers)
    nearby: Remembered | None = field(default_factory=Remembered)

    def ports(self) -> Ports:
        return replace(ports(self.said, answers=self.answers), nearby=self.nearby)

    async def ask(self, words: str, number: int = 1, *, similar: bool = True, account: str = ACCOUNT) -> Ending:
        at = asking(words, number, similar=similar, account=account)
        ending = await recall(cast(Complete, at.body), at, self.ports(), listener=Ear(), stop=Stop())
        if ending.keep:
            ending.keep.lead.keep(ending.keep.content, ttl_s=ending.keep.ttl_s)
        return ending


def asking(words: str, number: int = 1, *, similar: bool = True, account: str = ACCOUNT) -> Envelope:
    body = json.dumps({"messages": [{"role": "user", "content": words}]}).encode()
    at = command(request=f"req_{number:032x}", body=body, cache_ttl_s=60, account=account)
    ask = cast(Complete, at.body).model_copy(update={"cache_similar": similar})
    return at.model_copy(update={"body": ask})


FIRST, LIKE, OTHER = VECTORS


async def test_a_question_that_means_the_same_is_given_the_answer_and_says_so() -> None:
    world = World()

    first = (await world.ask(FIRST)).event
    event = (await world.ask(LIKE, 2)).event

    assert isinstance(event, CompletionFinished)
    assert world.said.asked == ["cheap/gpt"]
    assert (event.cached, event.cost_nanousd, event.saved_nanousd) == (True, 0, first.cost_nanousd)
    assert event.routing is not None
    assert event.routing.reason.startswith("answered from the response cache, to a question that means the same (0.99")
    assert world.nearby is not None
    assert world.nearby.vectors == [7, 7]


async def test_what_was_only_like_it_is_not_kept_so_that_likeness_does_not_wander() -> None:
    world = World()

    await world.ask(FIRST)
    ending = await world.ask(LIKE, 2)

    assert ending.keep is None
    assert (len(world.answers.kept), world.answers.left) == (1, 1)
    assert world.nearby is not None
    assert sum(map(len, world.nearby.noted.values())) == 1


async def test_a_question_that_means_something_else_is_asked() -> None:
    world = World()

    await world.ask(FIRST)
    event = (await world.ask(OTHER, 2)).event

    assert (len(world.said.asked), event.cached) == (2, False)


async def test_who_asked_for_equal_questions_alone_gets_no_other_and_no_vector_is_made() -> None:
    world = World()

    await world.ask(FIRST)
    event = (await world.ask(LIKE, 2, similar=False)).event

    assert (event.cached, world.said.embedded) == (False, [FIRST])


async def test_where_it_is_off_nothing_is_compared() -> None:
    world = World(nearby=None)

    await world.ask(FIRST)
    event = (await world.ask(LIKE, 2)).event

    assert (event.cached, world.said.embedded) == (False, [])


async def test_an_equal_question_needs_no_vector() -> None:
    world = World()

    await world.ask(FIRST)
    event = (await world.ask(FIRST, 2)).event

    assert (event.cached, world.said.embedded) == (True, [FIRST])


async def test_another_account_is_never_near() -> None:
    world = World()

    await world.ask(FIRST)
    event = (await world.ask(LIKE, 2, account="another")).event

    assert (len(world.said.asked), event.cached) == (2, False)


async def test_without_a_vector_it_is_asked_as_usual_and_its_answer_is_kept() -> None:
    world = World()
    world.said.broken = ProviderFailed("overloaded", "busy", status=503)

    event = (await world.ask(FIRST)).event

    assert isinstance(event, CompletionFinished)
    assert len(world.answers.kept) == 1
    assert world.nearby is not None
    assert (world.nearby.vectors, world.nearby.noted) == ([None], {})


async def test_a_neighbour_whose_answer_is_gone_is_no_help() -> None:
    world = World()

    await world.ask(FIRST)
    world.answers.kept.clear()
    event = (await world.ask(LIKE, 2)).event

    assert (len(world.said.asked), event.cached) == (2, False)


async def test_who_is_cancelled_while_the_vector_is_made_frees_those_who_wait() -> None:
    world, stop, at = World(), Stop(), asking(FIRST)
    world.said.hangs = asyncio.Event()
    running = asyncio.create_task(recall(cast(Complete, at.body), at, world.ports(), listener=Ear(), stop=stop))
    await world.said.hangs.wait()
    stop.by = "client"
    running.cancel()

    assert isinstance((await running).event, CompletionCancelled)
    assert world.answers.left == 1
