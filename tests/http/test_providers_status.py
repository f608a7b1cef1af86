"""How every provider stands, from what the workers have written down: given counts and circuits, then this document."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from app.http.providers_status import status
from app.standing.shared import Told
from app.standing.tallies import STRETCH_S, count, stretch_of
from handlers.rules.catalogue import Catalogue
from handlers.rules.circuit import Circuit, refused, rested
from handlers.rules.standing import Call
from tests.rules.offers import offer

NOW = 1_800_000_000.0
A, B = offer("p", "a", keys=(1, 1)), offer("p", "b", keys=(1, 1))
OTHER = offer("q")
WORLD = Catalogue.of((A, B, OTHER))


def told(*calls: Call, ago_s: float = 5.0, **circuits: Circuit) -> Any:
    counted: Counter[str] = Counter()
    for call in calls:
        count(call, counted)
    stretches = {stretch_of(NOW - ago_s): {A.id: counted}} if calls else {}
    named = {name.replace("__", "/").replace("_key", "#"): circuit for name, circuit in circuits.items()}
    return cast(dict[str, Any], status(WORLD, Told(NOW, named, stretches)))


def model(document: Any, id: str) -> Any:
    return next(one for provider in document["data"] for one in provider["models"] if one["id"] == id)


def standing(document: Any, id: str) -> tuple[str, str | None]:
    return model(document, id)["status"], model(document, id)["why"]


def test_what_nobody_has_asked_is_healthy_and_unmeasured() -> None:
    document = told()

    assert [provider["provider"] for provider in document["data"]] == ["p", "q"]
    assert model(document, "q/gpt") == {
        "id": "q/gpt",
        "model": "gpt",
        "status": "healthy",
        "since": None,
        "until": None,
        "why": None,
        "calls": 0,
        "error_rate": None,
        "latency_ms": {"p50": None, "p95": None},
        "time_to_first_token_ms": {"p50": None, "p95": None},
    }


def test_failures_and_times_are_those_of_the_latest_minute() -> None:
    answers = [Call(A, 0, None, took_s=0.1 * number, ttft_ms=100.0) for number in range(1, 10)]
    calls = [*answers, Call(A, 0, "server_error", took_s=0.1), Call(A, 0, "bad_request", took_s=0.1)]

    shown = model(told(*calls), A.id)

    assert (shown["calls"], shown["error_rate"]) == (11, round(1 / 11, 4))
    assert 400 < shown["latency_ms"]["p50"] < 600
    assert 800 < shown["latency_ms"]["p95"] < 1000
    assert 90 < shown["time_to_first_token_ms"]["p50"] < 120
    assert model(told(*calls, ago_s=60 + STRETCH_S), A.id)["calls"] == 0


def test_what_rests_says_since_when_until_when_and_why() -> None:
    document = told(p__a=Circuit(True, since=NOW - 3, until=NOW + 1, why="timeout"))

    shown = model(document, "p/a")
    assert (shown["status"], shown["why"]) == ("cooling_down", "timeout")
    assert shown["since"] < document["as_of"] < shown["until"]
    assert document["data"][0]["status"] == "degraded"
    assert standing(document, "p/b") == ("healthy", None)


def test_what_is_being_tried_again_is_probing() -> None:
    assert standing(told(p__a=Circuit(True, NOW - 9, NOW - 1, "cut")), "p/a") == ("probing", "cut")


def test_a_model_rests_only_when_all_keys_rest() -> None:
    one = told(p_key0=refused(None, "auth", NOW))
    assert standing(one, "p/a") == ("healthy", None)
    assert [key["status"] for key in one["data"][0]["keys"]] == ["cooling_down", "healthy"]

    both = told(p_key0=refused(None, "auth", NOW), p__a_key1=rested(None, 5.0, "rate_limited", NOW))
    assert standing(both, "p/a") == ("cooling_down", "rate_limited")
    assert standing(both, "p/b") == ("healthy", None)
