"""Equal questions of one account have one digest; it is made for those who want to know, and tells nobody else anything."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from app.vault import Box
from events.completions import Complete, CompletionFinished
from handlers.complete import complete
from handlers.ports import Stop
from handlers.rules.catalogue import Catalogue
from tests.fakes.road import Ear, Says, ScriptedProviders, command, ports
from tests.rules.offers import offer, price


async def digest(*, wanted: bool = True, **asked: object) -> str | None:
    at = command(**asked)  # type: ignore[arg-type]  # each test spells its own
    world = ports(ScriptedProviders(Catalogue.of((offer("one", at=price()),)), [Says(["hi"])]))
    told = replace(world, question_digests=wanted)
    ending = await complete(cast(Complete, at.body), at, told, listener=Ear(), stop=Stop())
    assert isinstance(ending.event, CompletionFinished)
    return ending.event.question_digest


async def test_equal_questions_have_one_digest() -> None:
    assert await digest() == await digest() is not None


async def test_nothing_is_digested_for_nobody() -> None:
    assert await digest(wanted=False) is None


def box(account: str, key: bytes) -> Box:
    return Box(account, {1: key}, current=1, destroyed=frozenset())


def test_a_digest_is_worth_nothing_without_the_account_s_key() -> None:
    mine = box("a", bytes(32))

    assert mine.digest(b"the same") == box("a", bytes(32)).digest(b"the same")
    assert mine.digest(b"the same") != mine.digest(b"another")
    assert mine.digest(b"the same") != box("a", bytes(range(32))).digest(b"the same")
