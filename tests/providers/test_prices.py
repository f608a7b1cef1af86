"""Prices as the catalogue has them, each with an example that was worked out by hand from the provider's sheet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from app.providers.catalogue import load_catalogue
from app.providers.litellm_prices import read_price
from app.providers.metered import metered_in
from app.providers.price_list import price_list
from events.completions import Metered, Wire
from handlers.rules.catalogue import Catalogue, Rates, Step
from handlers.rules.rating import Usage, price_version, rate
from tests.fakes.provider import EVENTS, Script, anthropic_answer, anthropic_events, event, provider
from tests.providers.asking import ask, question
from tests.providers.test_catalogue import settings

TODAY = date(2026, 11, 22)

ALL_KEYS = {f"{name}_api_key": "k" for name in ("openai", "anthropic", "xai", "perplexity")}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(settings(**ALL_KEYS), today=TODAY)


EXAMPLES = {
    "a short question": ("openai/gpt-4.1-mini", Usage(10_000, 1_000), "0.0056"),  # 10k at 0.40, 1k at 1.60
    "cached input": ("openai/gpt-4.1-mini", Usage(10_000, 0, 8_000), "0.0016"),  # 2k at 0.40, 8k at 0.10
    # $0.10 in and $0.50 out; above 272,000 tokens $0.20 and $0.75, for all of them.
    "just below the step": ("openai/gpt-6-luna", Usage(272_000, 1_000), "0.0277"),
    "just above the step": ("openai/gpt-6-luna", Usage(273_000, 1_000), "0.05535"),
    "priority": ("openai/gpt-6-luna", Usage(1_000, 1_000, metered=Metered(service="priority")), "0.0012"),
    "flex above the step": ("openai/gpt-6-luna", Usage(300_000, 0, metered=Metered(service="flex")), "0.03"),
    "batch": ("openai/gpt-6-luna", Usage(1_000, 1_000, metered=Metered(service="batch")), "0.0003"),
    "OpenAI's cache writes": ("openai/gpt-6-luna", Usage(10_000, 0, 0, 8_000), "0.0012"),  # 2k at 0.10, 8k at 0.125
    # Anthropic: $0.10 in, $0.125 for a write of five minutes, $0.20 for one of an hour, $0.01 for a read.
    "Anthropic's cache": (
        "anthropic/claude-haiku-5-5",
        Usage(31_000, 0, 10_000, 20_000, metered=Metered(cache_write_1h_tokens=5_000)),
        "0.003075",  # 1k fresh, 10k read, 15k written for five minutes, 5k for an hour
    ),
    "above 100,000 tokens": ("anthropic/claude-haiku-5-5", Usage(120_000, 2_000, 100_000), "0.02"),
    "data that stays": ("anthropic/claude-haiku-5-5", Usage(10_000, 0, metered=Metered(marks=("us",))), "0.0011"),
    "a fast answer": ("anthropic/claude-opus-5-5", Usage(1_000, 1_000, metered=Metered(marks=("fast",))), "0.048"),
    "a search of Anthropic's": ("anthropic/claude-haiku-5-5", Usage(0, 0, metered=Metered(searches=3)), "0.03"),
    "xAI above 200,000": ("xai/grok-4.3", Usage(250_000, 1_000, 50_000), "0.525"),  # 200k at 2.50, 50k at 0.40, 1k at 5
    "xAI's pictures": ("xai/grok-4.3", Usage(1_000, 0, metered=Metered(image_input_tokens=800)), "0.00125"),
    "Perplexity's fee": ("perplexity/sonar", Usage(1_000, 1_000), "0.007"),  # 0.005 for the request, low
    "a wider search": ("perplexity/sonar", Usage(0, 0, metered=Metered(search_size="high", searches=2)), "0.012"),
    "deep research": (
        "perplexity/sonar-deep-research",
        Usage(33, 7_163, metered=Metered(searches=18, reasoning_tokens=73_997, citation_tokens=20_016)),
        "0.409393",  # 0.000066 in, 0.057304 out, 0.221991 reasoned, 0.040032 cited, 0.09 searched
    ),
    "sound": (
        "openai/gpt-4o-audio-preview-2024-12-17",
        Usage(1_100, 550, metered=Metered(audio_input_tokens=1_000, audio_output_tokens=500)),
        "0.08075",  # 1000 heard at 40, 500 said at 80, 100 read at 2.50, 50 written at 10
    ),
    "OpenAI's searching models": ("openai/gpt-4o-search-preview", Usage(1_000, 100), "0.0285"),
    "an embedding": ("openai/text-embedding-3-small", Usage(1_000_000, 0), "0.02"),
}


@pytest.mark.parametrize(("model", "usage", "usd"), EXAMPLES.values(), ids=EXAMPLES)
def test_a_model_costs_what_its_sheet_says(catalogue: Catalogue, model: str, usage: Usage, usd: str) -> None:
    (offer,) = catalogue.find(model)
    assert offer.price is not None

    assert rate(usage, offer.price) == int(Decimal(usd) * 10**9)


def test_every_offer_names_its_price(catalogue: Catalogue) -> None:
    for offer in catalogue:
        assert offer.price is not None
        assert offer.price_version == price_version(offer.provider, offer.model, offer.price)
    assert len({offer.price_version for offer in catalogue}) == len(catalogue.offers)


def test_embeddings_are_offered_as_such_and_never_chosen_for_a_chat(catalogue: Catalogue) -> None:
    offers = {offer.id: offer for offer in catalogue if offer.kind == "embedding"}

    assert {"openai/text-embedding-3-small", "openai/text-embedding-3-large"} <= set(offers)
    assert not any(offer.auto for offer in offers.values())


def test_what_the_catalogue_charges_for_and_nobody_understands_is_named() -> None:
    read = read_price(
        "a-model",
        {
            "input_cost_per_token": Decimal("1e-06"),
            "output_cost_per_token": Decimal("2e-06"),
            "moonlight_surcharge": 3,
            "input_cost_per_token_above_sunrise": Decimal("3e-06"),
            "max_tokens": 100,
        },
        as_of="today",
        source="a sheet",
    )

    assert read.price is not None and read.price.steps == ()
    assert read.unrated == {"moonlight_surcharge", "input_cost_per_token_above_sunrise"}


@pytest.mark.parametrize("provider", ["anthropic", "xai", "perplexity"])
def test_nothing_that_these_providers_charge_for_is_left_out(provider: str) -> None:
    """When the catalogue brings a new kind of charge, this test says so; then it is rated, or named in docs/prices.md."""
    sold = [listed for _, listed in price_list().of(provider) if listed.chat or listed.embedding]

    assert sold and not any(listed.unrated for listed in sold)


def test_of_openai_s_charges_only_those_that_the_documentation_names_are_left_out() -> None:
    sold = [listed for _, listed in price_list().of("openai") if listed.chat or listed.embedding]

    assert set().union(*(listed.unrated for listed in sold)) == {"code_interpreter_cost_per_session"}


def test_where_tokens_cost_more_in_a_region_the_address_that_is_asked_decides() -> None:
    there = load_catalogue(settings(openai_api_key="k", openai_base_url="https://eu.api.openai.com/v1"), today=TODAY)
    (offer,) = there.find("openai/gpt-6-luna")
    assert offer.price is not None and offer.price.search is not None

    assert rate(Usage(10_000, 1_000), offer.price) == 1_650_000  # 1.1 times 0.0015
    assert rate(Usage(300_000, 0, metered=Metered(service="flex")), offer.price) == 33_000_000
    assert offer.price.search.low == 10_000_000


SEEN = {
    "OpenAI's": (
        {
            "prompt_tokens_details": {"audio_tokens": 3, "cached_tokens": 1},
            "completion_tokens_details": {"audio_tokens": 2},
        },
        "priority",
        Metered(audio_input_tokens=3, audio_output_tokens=2, service="priority"),
    ),
    "Anthropic's": (
        {
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
            "server_tool_use": {"web_search_requests": 2},
            "service_tier": "batch",
            "inference_geo": "us",
            "speed": "fast",
        },
        None,
        Metered(cache_write_1h_tokens=4, searches=2, service="batch", marks=("us", "fast")),
    ),
    "Perplexity's": (
        {"citation_tokens": 5, "num_search_queries": 6, "reasoning_tokens": 7, "search_context_size": "high"},
        None,
        Metered(citation_tokens=5, searches=6, reasoning_tokens=7, search_size="high"),
    ),
    "as litellm translates Anthropic's": (
        {"prompt_tokens_details": {"cache_creation_token_details": {"ephemeral_1h_input_tokens": 9}}},
        None,
        Metered(cache_write_1h_tokens=9),
    ),
    "the ordinary": ({"prompt_tokens": 1, "inference_geo": "global", "speed": "standard"}, "default", None),
    "nonsense": (
        {"reasoning_tokens": -1, "citation_tokens": "x", "server_tool_use": [], "search_context_size": {}},
        ["x"],
        None,
    ),
    "none": (None, "priority", None),
}


@pytest.mark.parametrize(("said", "service", "metered"), SEEN.values(), ids=SEEN)
def test_what_a_usage_object_says_beside_its_tokens_is_metered(
    said: object, service: object, metered: Metered | None
) -> None:
    assert metered_in(said, service=service) == metered


WRITTEN = """
[[model]]
provider = "xai"
model = "grok-4.3"
input_usd_per_million = 1
output_usd_per_million = 2
cached_input_usd_per_million = 0.1
cache_write_1h_usd_per_million = 3
request_usd = 0.001
search = { low = 0.005, medium = 0.006, high = 0.007 }
as_of = 2026-11-22
source = "somewhere"
[[model.step]]
above_input_tokens = 128000
input_usd_per_million = 2
output_usd_per_million = 4
"""


def test_a_price_can_be_written_with_all_its_parts(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(WRITTEN)
    (offer,) = load_catalogue(settings(xai_api_key="k", helix_prices=prices), today=TODAY).find("xai/grok-4.3")
    price = offer.price
    assert price is not None and price.search is not None

    assert (price.cached_input, price.cache_write, price.cache_write_1h) == (10**8, 10**9, 3 * 10**9)
    assert (price.request, price.search.high) == (10**6, 7 * 10**6)
    assert price.steps == (Step("standard", 128_000, Rates(2 * 10**9, 4 * 10**9, 2 * 10**9, 2 * 10**9, 2 * 10**9)),)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ("[[model.step]]\ninput_usd_per_million = 2\noutput_usd_per_million = 4\n", "above_input_tokens"),
        ("[[model.step]]\nabove_input_tokens = 5\ninput_usd_per_million = 2\n", "output_usd_per_million"),
        ("search = { low = 1, medium = 1, high = 1, every = true }\n", "model.0.search.every"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_with_one_line(tmp_path: Path, extra: str, named: str) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(WRITTEN.partition("search = " if extra.startswith("search") else "[[model.step]]")[0] + extra)
    with pytest.raises(ValueError, match=named) as refused:
        load_catalogue(settings(xai_api_key="k", helix_prices=prices), today=TODAY)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_what_anthropic_charges_for_reaches_the_bill_on_every_way(wire: Wire, stream: bool) -> None:
    begun = {"cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4}, "inference_geo": "us"}
    counted = {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 5}
    ended = {**counted, "output_tokens": 7, "server_tool_use": {"web_search_requests": 2}}
    whole = anthropic_answer({"type": "text", "text": "hi"}) | {"usage": begun | ended}
    events = anthropic_events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
        {"type": "message_stop"},
    )
    start = {**anthropic_answer(), "stop_reason": None, "usage": begun | counted | {"output_tokens": 1}}
    events[0] = b"event: message_start\n" + event({"type": "message_start", "message": start})
    script = Script(events, content_type=EVENTS) if stream else Script((orjson.dumps(whole),))
    asked = replace(question(stream, max_tokens=50), wire=wire)
    async with provider(script) as fake:
        outcome = await ask(fake.base_url, asked, wire="anthropic", upstream="claude-haiku-5-5")

    assert outcome.heard.usage == Usage(
        18, 7, 3, 5, metered=Metered(cache_write_1h_tokens=4, searches=2, marks=("us",))
    ), outcome.failed
