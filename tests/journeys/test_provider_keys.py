"""A customer brings a key for a provider that we have none for: his account alone may ask it, with that key alone, at his own
expense; what he sent is never seen again."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.journeys.books import books_of, soon
from tests.journeys.client import Client, client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix
from tests.provider_keys import GONE, MODEL, Echo, digest, echoing

ASKED = f"openai/{MODEL}"
SCOPES = ("--scope", "chat", "--scope", "account")


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with echoing() as running:
        yield running


@pytest.fixture
def at_echo(echo: Echo, reachable_path: Path) -> Iterator[Helix]:
    """A Helix without a key for OpenAI, which listens where the test says."""
    with helix_on(reachable_path / "data", OPENAI_BASE_URL=f"http://127.0.0.1:{echo.port}/v1") as running:
        yield running


async def stored(client: Client, key: str, provider: str = "openai") -> None:
    answer = await client.send("PUT", f"/v1/provider-keys/{provider}", {"api_key": key})
    assert (answer.status, answer.json["hint"]) == (200, f"{key[:4]}…{key[-4:]}")
    assert key.encode() not in answer.body


async def test_the_life_of_a_customers_provider_key(at_echo: Helix, echo: Echo) -> None:
    mine, theirs = await at_echo.account("enterprise", *SCOPES), await at_echo.account("enterprise", *SCOPES)
    first, second = (f"sk-{secrets.token_hex(24)}" for _ in range(2))
    async with (
        client_of(at_echo.base_url, mine.key) as client,
        client_of(at_echo.base_url, theirs.key) as stranger,
        books_of(at_echo.now()) as books,
    ):
        assert (await client.complete(question("before", ASKED))).status == 404
        await stored(client, first)
        listed = (await client.get("/v1/provider-keys")).json
        assert [view["provider"] for view in listed["data"]] == ["openai"]
        assert set(listed["providers"]) >= {"openai", "anthropic"}

        told = await client.complete(question("with the first", ASKED))
        assert (told.status, told.text) == (200, digest(first))
        assert ASKED in {view["id"] for view in (await client.get("/v1/models")).json["data"]}
        await books.caught_up()
        [row] = await books.database.fetch(
            "SELECT own_key, cost_usd, price_version, prompt_tokens FROM usage WHERE request_id = $1", told.request
        )
        assert (row["own_key"], row["cost_usd"], row["price_version"]) == (True, 0, None)
        assert row["prompt_tokens"] > 0

        assert (await stranger.complete(question("a stranger", ASKED))).status == 404
        assert (await stranger.get("/v1/provider-keys/openai")).status == 404
        assert (await stranger.send("DELETE", "/v1/provider-keys/openai")).status == 404
        assert (await stranger.get("/v1/provider-keys")).json["data"] == []

        await stored(client, second)

        async def changed() -> bool:
            return (await client.complete(question("with the second", ASKED))).text == digest(second)

        await soon(changed)
        assert (await client.complete(question("for good", ASKED))).text == digest(second)

        bad = f"sk-{GONE}-{secrets.token_hex(8)}"
        await stored(client, bad)

        async def refused() -> bool:
            answer = await client.complete(question("with a bad one", ASKED))
            return answer.status == 403 and bool(answer.error["code"] == "provider_key_refused")

        await soon(refused)
        assert bad.encode() not in (await client.complete(question("and again", ASKED))).body

        assert (await client.send("DELETE", "/v1/provider-keys/openai")).json["deleted"]
        assert (await client.complete(question("after", ASKED))).status == 404
        await soon(lambda: _audited(client))
        assert set(echo.heard) == {digest(first), digest(second), digest(bad)}

        for body in ({"api_key": "two words"}, {"api_key": "short"}, {"api_key": "x" * 20, "base_url": "http://a"}, {}):
            answer = await client.send("PUT", "/v1/provider-keys/openai", body)
            assert answer.status == 400
            assert b"two words" not in answer.body
        assert (await client.send("PUT", "/v1/provider-keys/sandbox", {"api_key": "x" * 20})).status == 404
        said = at_echo.stderr.read_text() + str(await at_echo.ask("log"))
        assert not [key for key in (first, second, bad) if key in said]


async def _audited(client: Client) -> bool:
    entries = (await client.get("/v1/audit?limit=100")).json["data"]
    actions = [entry["action"] for entry in entries if entry["action"].startswith("provider_key")]
    return actions == ["provider_key.removed", *["provider_key.stored"] * 3]
