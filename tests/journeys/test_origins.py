"""A key says whose pages may use it, and no other page reads what it opens (A15)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from app.http.key_shapes import KeyCreate
from tests.journeys.client import Answer, Client, client_of, question
from tests.journeys.running import Helix

OURS = "https://app.example"
THEIRS = "https://evil.example"


@pytest.fixture
async def owner(helix: Helix) -> AsyncIterator[Client]:
    account = await helix.account("enterprise", "--scope", "chat", "--scope", "keys")
    async with client_of(helix.base_url, account.key) as made:
        yield made


def opened_to(answer: Answer) -> str | None:
    return answer.headers.get("access-control-allow-origin")


async def test_a_key_is_used_by_the_pages_that_it_names_and_by_no_others(helix: Helix, owner: Client) -> None:
    made = (await owner.post("/v1/api-keys", {"scopes": ["chat", "keys"], "allowed_origins": [OURS]})).json
    assert made["allowed_origins"] == [OURS]
    async with client_of(helix.base_url, made["key"]) as holder:
        for body in (question("hello"), question("hello", stream=True), {"model": 1}):
            read = await holder.send("POST", "/v1/chat/completions", body, origin=OURS)
            assert (opened_to(read), read.headers["vary"]) == (OURS, "origin"), read.status
            refused = await holder.send("POST", "/v1/chat/completions", body, origin=THEIRS)
            assert (refused.status, refused.error["code"]) == (403, "origin_not_allowed")
            assert opened_to(refused) is None
        for origin in (f"{OURS}.evil.example", "null", OURS.upper(), f"{OURS}, {THEIRS}", ""):
            assert (await holder.send("GET", "/v1/models", origin=origin)).status == 403, origin
        unasked = await holder.get("/v1/models")
        assert (unasked.status, opened_to(unasked)) == (200, None)
        wider = await holder.post("/v1/api-keys", {"scopes": ["chat"], "allowed_origins": [THEIRS]})
        wide = await holder.post("/v1/api-keys", {"scopes": ["chat"], "allowed_origins": None})
        assert [each.error["code"] for each in (wider, wide)] == ["right_lacking"] * 2
        like_it = await holder.post("/v1/api-keys", {"scopes": ["chat"]})
        assert like_it.json["allowed_origins"] == [OURS]
    async with client_of(helix.base_url, like_it.json["key"]) as holder:
        assert opened_to(await holder.send("GET", "/v1/models", origin=OURS)) == OURS
    open_again = await owner.send("PATCH", f"/v1/api-keys/{like_it.json['id']}", {"allowed_origins": None})
    assert open_again.json["allowed_origins"] is None


async def test_a_key_that_names_no_pages_opens_to_none(client: Client) -> None:
    answer = await client.send("GET", "/v1/models", origin=THEIRS)
    assert (answer.status, opened_to(answer)) == (200, None)


@pytest.mark.parametrize("origin", ["*", "null", "app.example", f"{OURS}/", "https://*.example", "file://x", ""])
def test_what_is_no_origin_is_named_by_no_key(origin: str) -> None:
    with pytest.raises(ValidationError, match="an origin is a scheme"):
        KeyCreate.model_validate({"allowed_origins": [origin]})
