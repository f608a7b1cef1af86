"""How large a body may be is the tier's to say, and who sends more is told so before it is kept (A3)."""

from __future__ import annotations

import pytest

from handlers.rules.body_sizes import BODY_BYTES_MAX
from tests.journeys.client import client_of, question
from tests.journeys.running import Helix

MORE = BODY_BYTES_MAX["free"] + 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages/count_tokens"])
async def test_a_body_is_as_large_as_its_tier_allows(helix: Helix, path: str) -> None:
    account = await helix.account("free")
    async with client_of(helix.base_url, account.key) as client:
        refused = await client.send("POST", path, question("x" * MORE))
        assert refused.status == 413, refused.body
    async with client_of(helix.base_url, helix.facts["api_key"]) as client:
        assert (await client.send("POST", path, question("x" * MORE))).status == 200
