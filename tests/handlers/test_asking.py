"""Who is asked after a failure: given what the providers say, then these calls, and this end."""

from __future__ import annotations

import asyncio
from typing import cast

from app.standing.shared import Shared
from app.standing.watch import Watch
from events.completions import Complete, CompletionCancelled, CompletionFailed, CompletionFinished, Policy
from events.message import Envelope
from handlers.complete import Ending, complete
from handlers.ports import ProviderFailed, Stop
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.rating import Usage
from handlers.rules.standing import Call
from tests.fakes.road import Ear, Says, ScriptedProviders, command, ports
from tests.rules.offers import offer

WELL = Says(["hi"], usage=Usage(1, 1))
BUSY = ProviderFailed("rate_limited", "slow down", status=429)
ALONE = Catalogue.of((offer("p"),))
TWO_KEYS = Catalogue.of((offer("p", keys=(1, 1)),))


def watch() -> Watch:
    """What one worker has seen itself."""
    return Watch(Shared("redis://127.0.0.1:1", "w"))


def world(catalogue: Catalogue, *scripts: Says) -> ScriptedProviders:
    return ScriptedProviders(catalogue, list(scripts))


async def ended(providers: ScriptedProviders, at: Envelope | None = None, *, standing: Watch | None = None) -> Ending:
    said = at or command()
    return await complete(
        cast(Complete, said.body), said, ports(providers, standing=standing), listener=Ear(), stop=Stop()
    )


def fails(times: int, standing: Watch, of: Offer = ALONE.offers[0], took_s: float = 0.01) -> None:
    for _ in range(times):
        kind = "timeout" if took_s > 1 else "server_error"
        standing.ended(Call(of, 0, kind, took_s))  # type: ignore[arg-type]  # one of the kinds


async def test_when_one_key_is_at_its_limit_the_other_is_asked_at_once() -> None:
    providers = world(TWO_KEYS, Says(fails=BUSY), WELL)

    event = (await ended(providers)).event

    assert isinstance(event, CompletionFinished)
    assert providers.asked == ["p/gpt", "p/gpt#1"]


async def test_when_one_key_is_refused_no_offer_of_its_provider_is_asked_with_it() -> None:
    both = Catalogue.of((offer("p", "a", keys=(1, 1)), offer("p", "b", keys=(1, 1))))
    refused = ProviderFailed("auth", "bad key", status=401)
    providers = world(both, Says(fails=refused), Says(fails=refused))

    event = (await ended(providers, command(model="auto"))).event

    assert isinstance(event, CompletionFailed)
    assert providers.asked == ["p/a", "p/a#1"]


async def test_after_an_overflow_only_a_larger_window_is_asked() -> None:
    sizes = Catalogue.of(offer(name, context_window=size) for name, size in (("a", 100), ("b", 50), ("c", 900)))
    providers = world(sizes, Says(fails=ProviderFailed("context_overflow", "too long", status=400)), WELL)

    event = (await ended(providers)).event

    assert isinstance(event, CompletionFinished)
    assert providers.asked == ["a/gpt", "c/gpt"]


async def test_a_refused_question_goes_to_nobody_whom_the_account_has_not_named() -> None:
    two = Catalogue.of((offer("a"), offer("b"), offer("c", "other")))
    refused = Says(fails=ProviderFailed("content_policy", "no", status=400))

    unnamed = world(two, refused)
    assert (await ended(unnamed)).event.outcome == "failed"
    named = world(two, refused, WELL)
    assert (await ended(named, command(policy=Policy(chain=("gpt", "other"))))).event.outcome == "completed"

    assert unnamed.asked == ["a/gpt"]
    assert named.asked == ["a/gpt", "c/other"]


async def test_what_is_known_to_be_down_is_asked_once_and_not_again() -> None:
    standing, providers = watch(), world(ALONE, Says(fails=ProviderFailed("server_error", "no", status=500)))
    fails(10, standing)

    event = (await ended(providers, standing=standing)).event

    assert (event.outcome, providers.asked) == ("failed", ["p/gpt"])


async def test_who_hangs_is_not_asked_and_the_client_is_told_when_to_come_again() -> None:
    standing, providers = watch(), world(ALONE)
    fails(2, standing, took_s=60.0)

    ending = await ended(providers, standing=standing)

    assert isinstance(ending.event, CompletionFailed)
    assert (ending.event.why, ending.event.http_status, providers.asked) == ("cooling_down", 503, [])
    assert ending.retry_after_s is not None
    assert ending.event.routing is not None
    assert ending.event.routing.passed_over[0].why.startswith("cooling down after timeout")


async def test_a_storm_of_failures_costs_hardly_more_calls_than_there_are_requests() -> None:
    standing = watch()
    at_once = ProviderFailed("rate_limited", "slow down", status=429, retry_after_s=0.0)
    providers = ScriptedProviders(ALONE, always=Says(fails=at_once))

    for _ in range(100):
        assert (await ended(providers, standing=standing)).event.outcome == "failed"

    assert len(providers.asked) <= 20  # 429 storms: the first few find out for all the others


async def test_a_short_limit_is_waited_for_and_then_the_provider_is_asked() -> None:
    standing, providers = watch(), world(ALONE, WELL)
    standing.ended(Call(ALONE.offers[0], 0, "rate_limited", 0.01, rests_s=0.05))

    event = (await ended(providers, standing=standing)).event

    assert (event.outcome, providers.asked) == ("completed", ["p/gpt"])


async def test_a_long_limit_is_told_to_the_client_with_its_length() -> None:
    standing, providers = watch(), world(ALONE)
    standing.ended(Call(ALONE.offers[0], 0, "rate_limited", 0.01, rests_s=60.0))

    ending = await ended(providers, standing=standing)

    assert isinstance(ending.event, CompletionFailed)
    assert (ending.event.why, ending.event.http_status, providers.asked) == ("rate_limited", 429, [])
    assert ending.retry_after_s is not None
    assert 59 < ending.retry_after_s <= 60


async def test_a_cancelled_call_says_nothing_about_its_provider() -> None:
    standing, stop = watch(), Stop()
    providers, at = world(ALONE, Says(hangs=True)), command()
    asked = complete(cast(Complete, at.body), at, ports(providers, standing=standing), listener=Ear(), stop=stop)
    running = asyncio.create_task(asked)
    await providers.waiting.wait()

    stop.by = "client"
    running.cancel()

    assert isinstance((await running).event, CompletionCancelled)
    assert standing.picture().circuits == {}


async def test_an_account_that_may_ask_nobody_is_told_so() -> None:
    ending = await ended(world(ALONE), command(policy=Policy(chain=("gpt",), never=("p",))))

    assert isinstance(ending.event, CompletionFailed)
    assert (ending.event.why, ending.event.http_status) == ("not_allowed", 403)


async def test_a_question_that_one_provider_has_no_words_for_goes_to_the_next_and_says_nothing_about_the_first() -> (
    None
):
    standing = watch()
    unsayable = ProviderFailed("unsayable", "n: this provider gives one choice", param="n")
    both = Catalogue.of((offer("p"), offer("q")))
    providers = world(both, Says(fails=unsayable), WELL)

    event = (await ended(providers, standing=standing)).event

    assert isinstance(event, CompletionFinished)
    assert len(set(providers.asked)) == 2
    assert standing.picture().circuits == {}


async def test_a_question_that_nobody_has_words_for_is_the_clients_to_mend() -> None:
    unsayable = ProviderFailed("unsayable", "n: this provider gives one choice", param="n")

    event = (await ended(world(ALONE, Says(fails=unsayable)))).event

    assert isinstance(event, CompletionFailed)
    assert (event.http_status, event.why, event.billable) == (400, "unsayable", False)
