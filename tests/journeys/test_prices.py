"""What requests cost: named, added up, corrected and imagined elsewhere, through the door and the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from tests.fakes.provider import Provider, Script, openai_answer
from tests.journeys.books import Books
from tests.journeys.client import Client, client_of, question
from tests.journeys.running import Helix

PRICES = """
[[model]]
provider = "near"
model = "small"
input_usd_per_million = 3.0
output_usd_per_million = 4.0
as_of = 2026-11-22
source = "a sheet that was read again"
"""


async def test_a_cost_is_named_added_up_corrected_and_imagined_elsewhere(
    helix: Helix, books: Books, provider: Provider, tmp_path: Path
) -> None:
    provider.scripts[:] = [Script((json.dumps(openai_answer("well said")).encode(),))]
    account = await helix.account()
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    async with client_of(helix.base_url, account.key) as client:
        asked = [await client.complete(question("the same words", "near/small")) for _ in range(3)]
        await books.caught_up()

        # Each usage row names a price of the list: 7 tokens in at 1 dollar, 2 out at 2 dollars a million.
        versions = await books.database.fetch(
            "SELECT DISTINCT price_version FROM usage WHERE request_id = ANY($1::text[])",
            [one.request for one in asked],
        )
        [(version,)] = [tuple(row) for row in versions]
        [shown] = [one for one in (await helix.ask("prices", "list"))["prices"] if one["version"] == version]
        assert (shown["provider"], shown["model"], shown["input_usd_per_million"]) == ("near", "small", "1")

        spent = (await client.get("/v1/analytics/usage?group_by=provider")).json
        assert spent["total_cost"] == {"usd": "0.000033000", "nanousd": 33_000}
        assert [(one["group"], one["requests"], one["output_tokens"]) for one in spent["data"]] == [("near", 3, 6)]

        # Three times the same question: two of the answers could have been kept.
        advice = (await client.get("/v1/analytics/cost-optimization?days=7")).json
        assert (advice["requests"], advice["confidence"]) == (3, "low")
        assert (advice["caching"]["compared_requests"], advice["caching"]["repeated_requests"]) == (3, 2)
        assert advice["caching"]["repeated_cost"]["nanousd"] == 22_000

        # On Anthropic's model the same tokens: 7 in at 3 dollars, 2 out at 15.
        words = ("--from", since, "--account", account.email)
        there = await helix.ask("simulate", "--model", "far/claude-far", *words)
        assert (there["requests"], there["cost_usd"], there["cost_then_usd"]) == (3, "0.000033000", "0.000153000")
        assert there["unknown"]

        # The price was wrong. Corrected, each costs 7 times 3 and 2 times 4;
        sheet = tmp_path / "prices.toml"
        sheet.write_text(PRICES)
        rerate = ("rerate", "--from", since, "--model", "small", "--provider", "near", "--prices", str(sheet))
        done = await helix.ask(*rerate)
        assert (done["adjusted"], done["cost_before_usd"], done["cost_after_usd"]) == (3, "0.000033000", "0.000087000")
        await books.caught_up()
        corrected = (await client.get("/v1/analytics/usage")).json
        assert corrected["total_cost"]["nanousd"] == 87_000
        assert [one["adjusted"]["nanousd"] for one in corrected["data"]] == [54_000]


async def test_a_stretch_that_makes_no_sense_is_refused(client: Client) -> None:
    for query in ("from=yesterday", "from=2026-02-02&to=2026-01-01", "group_by=mood", "from=2020-01-01"):
        answer = await client.get(f"/v1/analytics/usage?{query}")
        assert (answer.status, answer.error["code"]) == (400, "invalid_value")
    assert (await client.get("/v1/analytics/cost-optimization?days=0")).status == 400
