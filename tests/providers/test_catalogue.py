"""What is offered, at what price, by which settings."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import pytest

from app.providers.catalogue import load_catalogue
from app.providers.endpoints import endpoints, listed_providers
from app.settings import Settings
from handlers.rules.catalogue import Offer, Price
from handlers.rules.routing import Wanted, route

TODAY = date(2026, 11, 22)

REQUIRED = {"database_url": "postgresql://x", "redis_url": "redis://x", "api_key_encryption_key": "x"}

FILE = """
[[provider]]
name = "local"
base_url = "http://127.0.0.1:9100/v1/"
api_key_env = "LOCAL_API_KEY"
weight = 3
[[provider.model]]
id = "small"
upstream = "mock-l0-n16"
context_window = 128000
input_usd_per_million = 0.15
output_usd_per_million = 0.60
quality = 70
[[provider.model]]
id = "gpt-4o"
[[provider]]
name = "far"
wire = "litellm"
[[provider.model]]
id = "command-r"
upstream = "cohere/command-r"
"""


def settings(**more: object) -> Settings:
    return Settings.model_validate({**REQUIRED, **more})


def file(folder: Path, text: str) -> Path:
    path = folder / "providers.toml"
    path.write_text(text)
    return path


def only(name: str, **more: object) -> Offer:
    (found,) = load_catalogue(settings(**more), today=TODAY).find(name)
    return found


def test_without_keys_nothing_is_offered() -> None:
    assert list(load_catalogue(settings())) == []


def test_a_key_brings_its_provider_s_models_and_no_others() -> None:
    offers = load_catalogue(settings(anthropic_api_key="k"), today=TODAY).offers
    assert {offer.provider for offer in offers} == {"anthropic"}
    assert {offer.wire for offer in offers} == {"anthropic"}


def test_a_price_is_whole_nano_dollars_without_a_float_s_dust() -> None:
    offer = only("openai/gpt-4.1-mini", openai_api_key="k")
    assert offer.price is not None
    assert (offer.price.input, offer.price.output) == (400_000_000, 1_600_000_000)
    assert offer.price.as_of.startswith("litellm ")
    assert offer.context_window == 1_047_576
    assert {"tools", "images", "json"} <= offer.capabilities


def test_a_provider_s_prefix_is_no_part_of_its_model_s_name() -> None:
    offer = only("grok-4.3", xai_api_key="k")
    assert (offer.id, offer.upstream) == ("xai/grok-4.3", "grok-4.3")


def test_models_that_have_been_retired_are_not_offered() -> None:
    assert load_catalogue(settings(openai_api_key="k"), today=TODAY).find("gpt-4-turbo") == ()


def test_auto_chooses_among_general_models_only() -> None:
    keys = {f"{name}_api_key": "k" for name in ("openai", "anthropic", "xai", "perplexity")}
    names = {offer.model for offer in load_catalogue(settings(**keys), today=TODAY).find("auto")}
    assert {"gpt-5-nano", "claude-haiku-4-5"} <= names
    assert not [name for name in names if "audio" in name or "search" in name or "2025" in name]


def test_our_own_prices_win_over_the_catalogue(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[model]]\nprovider = "openai"\nmodel = "gpt-4o"\ninput_usd_per_million = 1.1\noutput_usd_per_million = 2\n'
        'cached_input_usd_per_million = 0.000000001\nas_of = 2026-11-01\nsource = "somewhere"\n'
    )
    offer = only("openai/gpt-4o", openai_api_key="k", helix_prices=prices)
    assert offer.price == Price(
        1_100_000_000, 2_000_000_000, 1, 1_100_000_000, 1_100_000_000, as_of="2026-11-01", source="somewhere"
    )


def test_a_price_without_its_day_and_source_is_refused(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[model]]\nprovider = "a"\nmodel = "b"\ninput_usd_per_million = 1\noutput_usd_per_million = 1\n')
    with pytest.raises(ValueError, match="as_of and source"):
        load_catalogue(settings(openai_api_key="k", helix_prices=prices))


def test_the_operator_s_file_adds_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", "s3cret")
    path = file(tmp_path, FILE)
    small = only("small", helix_providers=path)
    assert (small.id, small.upstream, small.weight, small.quality) == ("local/small", "mock-l0-n16", 3, 70)
    assert small.price == Price(
        150_000_000, 600_000_000, *[150_000_000] * 3, as_of="operator", source="HELIX_PROVIDERS"
    )
    endpoint = endpoints(settings(), listed_providers(path))["local"]
    assert (endpoint.base_url, endpoint.api_key) == ("http://127.0.0.1:9100/v1", "s3cret")
    assert "s3cret" not in repr(endpoint)


def test_what_the_file_leaves_open_comes_from_the_catalogue_or_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", "k")
    known = only("local/gpt-4o", helix_providers=file(tmp_path, FILE))
    assert known.price is not None and known.price.input == 2_500_000_000
    assert known.context_window == 128_000
    own = FILE.replace("input_usd_per_million = 0.15", "").replace("output_usd_per_million = 0.60", "")
    assert only("local/small", helix_providers=file(tmp_path, own)).price is None


def test_the_long_tail_needs_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", "k")
    offer = only("far/command-r", helix_providers=file(tmp_path, FILE))
    assert (offer.wire, offer.upstream) == ("litellm", "cohere/command-r")


ONE = '[[provider]]\nname = "a"\nbase_url = "http://x"\n'
MODEL = '[[provider.model]]\nid = "m"\n'

FAULTS = {
    "no TOML": ("[[provider", "HELIX_PROVIDERS"),
    "no name": ('[[provider]]\nbase_url = "http://x"\n' + MODEL, "provider.0.name"),
    "no model": (ONE, "provider.0.model"),
    "no address": ('[[provider]]\nname = "a"\n' + MODEL, "base_url"),
    "an odd address": ('[[provider]]\nname = "a"\nbase_url = "ftp://x"\n' + MODEL, "provider.0.base_url"),
    "an unknown wire": (ONE + 'wire = "smtp"\n' + MODEL, "provider.0.wire"),
    "a misspelt field": (ONE + MODEL + "contextwindow = 5\n", "provider.0.model.0.contextwindow"),
    "a negative price": (ONE + MODEL + "input_usd_per_million = -1\n", "input_usd_per_million"),
    "half a price": (ONE + MODEL + "input_usd_per_million = 1\n", "given together"),
    "a weight of nothing": (ONE + "weight = 0\n" + MODEL, "provider.0.weight"),
    "a quality beyond": (ONE + MODEL + "quality = 101\n", "quality"),
    "a name twice": (ONE + MODEL + ONE + MODEL, "stands twice"),
    "a model twice": (ONE + MODEL + MODEL, "stand twice"),
    "a built-in name": (ONE.replace('"a"', '"openai"') + MODEL, "built-in"),
    "a key that is not set": (ONE + 'api_key_env = "NOBODY_SET_THIS"\n' + MODEL, "NOBODY_SET_THIS is not set"),
}


@pytest.mark.parametrize(("text", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_a_wrong_file_is_refused_with_one_line_that_names_the_fault(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ValueError) as refused:
        load_catalogue(settings(helix_providers=file(tmp_path, text)))
    assert named in str(refused.value)
    assert "HELIX_PROVIDERS" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_sandbox_s_models_are_marked_as_a_simulation() -> None:
    catalogue = load_catalogue(settings(helix_sandbox_url="http://127.0.0.1:1"))
    names = ("echo", "lorem", "tools", "faulty", "embed")
    assert {offer.id for offer in catalogue} == {f"sandbox/{name}" for name in names}
    assert all(offer.simulated and offer.price is None for offer in catalogue)
    assert route(catalogue, Wanted("auto")).candidates[0].offer.id == "sandbox/echo"


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_the_sandbox_s_address_may_be_written_either_way(url: str) -> None:
    assert endpoints(settings(helix_sandbox_url=url), ())["sandbox"].base_url == "http://h:1/v1"


def test_the_catalogue_is_read_without_litellm() -> None:
    before = "litellm" in sys.modules
    load_catalogue(settings(openai_api_key="k"))
    assert ("litellm" in sys.modules) == before
