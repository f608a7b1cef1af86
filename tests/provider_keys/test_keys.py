"""A customer's key: sealed in its row, remembered for seconds, and what it opens."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from app.database import Pool, Unavailable, open_pool
from app.ids import new_id
from app.key_ring import KeyRing
from app.provider_keys import store
from app.provider_keys.asking import OwnStanding
from app.provider_keys.cabinet import KEEP_S, Cabinet
from app.provider_keys.catalogues import OwnCatalogues
from app.providers.catalogue import load_catalogue
from app.vault import Box, Tampered, Vault
from events.catalog import read
from events.completions import ProviderKey
from events.provider_keys import ProviderKeyRemoved, ProviderKeyStored
from handlers.ports import Unwatched
from handlers.rules.catalogue import Catalogue
from handlers.rules.circuit import Circuit
from handlers.rules.failure import FailureKind
from handlers.rules.standing import Call, Picture
from tests.conftest import MakeSettings
from tests.provider_keys import MODEL
from tests.rules.offers import offer

KEY = "sk-canary-0123456789abcdefghij"
BY = "key:01900000-0000-7000-8000-0000000000aa"


@pytest.fixture
async def box(pool: Pool) -> Box:
    return await Vault(pool, KeyRing.parse("00" * 32)).box(new_id())


async def test_a_stored_key_is_sealed_in_its_row_and_told_without_itself(pool: Pool, box: Box) -> None:
    async with pool.acquire() as connection:
        first = await store.put(connection, box.account, box, "openai", "an older one", by=BY)
        stored = await store.put(connection, box.account, box, "openai", KEY, by=BY)
        rows = await connection.fetch("SELECT * FROM provider_keys")
        found = await store.sealed_of(connection, box.account)
        assert await store.remove(connection, box.account, "openai", by=BY)
        assert not await store.remove(connection, box.account, "openai", by=BY)
        facts = [read(row["envelope"]) for row in await connection.fetch("SELECT envelope FROM outbox ORDER BY id")]

    assert len(rows) == 1 and KEY.encode() not in rows[0]["sealed"]
    assert (first.hint, stored.hint, stored.created_at) == ("…", "sk-c…ghij", first.created_at)
    assert found["openai"].open(box) == KEY
    assert KEY not in repr(found)
    assert [fact.body for fact in facts] == [
        ProviderKeyStored(provider="openai", key_version=first.version, by=BY),
        ProviderKeyStored(provider="openai", key_version=stored.version, by=BY),
        ProviderKeyRemoved(provider="openai", key_version=stored.version, by=BY),
    ]


async def test_a_sealed_key_opens_for_its_own_account_provider_and_version_alone(pool: Pool, box: Box) -> None:
    other = await Vault(pool, KeyRing.parse("00" * 32)).box(new_id())
    async with pool.acquire() as connection:
        await store.put(connection, box.account, box, "openai", KEY, by=BY)
        sealed = (await store.sealed_of(connection, box.account))["openai"]

    moved = store.SealedKey("anthropic", sealed.version, sealed.sealed)
    older = store.SealedKey("openai", new_id(), sealed.sealed)
    for stolen, by_whom in ((sealed, other), (moved, box), (older, box)):
        with pytest.raises(Tampered):
            stolen.open(by_whom)


async def test_what_is_remembered_ends_by_word_by_a_newer_name_and_by_itself(pool: Pool, box: Box) -> None:
    now = 0.0
    cabinet = Cabinet(pool, clock=lambda: now)

    async def stored(key: str) -> tuple[ProviderKey, ...]:
        async with pool.acquire() as connection:
            made = await store.put(connection, box.account, box, "openai", key, by=BY)
        return (ProviderKey(provider="openai", version=made.version),)

    async def used(named: tuple[ProviderKey, ...]) -> str | None:
        found = (await cabinet.of(box.account, named)).get("openai")
        return found.open(box) if found else None

    first = await stored("first-key")
    assert await used(first) == "first-key"
    second = await stored("second-key")
    assert await used(first) == "first-key"  # remembered
    assert await used(second) == "second-key"  # a newer name
    assert await used(first) == "second-key"  # and no older key after it

    async with pool.acquire() as connection:
        await store.remove(connection, box.account, "openai", by=BY)
    assert await used(second) == "second-key"
    now = KEEP_S
    assert await used(second) is None
    third = await stored("third-key")
    assert await used(third) == "third-key"
    async with pool.acquire() as connection:
        await store.remove(connection, box.account, "openai", by=BY)
    cabinet.forget(box.account)
    assert await used(third) is None


async def test_without_postgres_a_key_cannot_be_had() -> None:
    async with await open_pool("postgresql://nobody@127.0.0.1:1/none", name="tests", connections_max=1) as away:
        with pytest.raises(Unavailable):
            await Cabinet(away).of(new_id(), (ProviderKey(provider="openai", version=new_id()),))


def test_a_key_opens_a_provider_that_we_have_none_for_to_its_account_alone(make_settings: MakeSettings) -> None:
    settings = make_settings()
    common = load_catalogue(settings)
    catalogues = OwnCatalogues(settings, common)
    mine = catalogues.of((ProviderKey(provider="openai", version="v"),))

    assert not common.find(f"openai/{MODEL}")
    [opened] = mine.find(f"openai/{MODEL}")
    assert (opened.own_key, opened.price, opened.price_version, opened.keys) == (True, None, None, (1,))
    assert not mine.find("claude-sonnet-4-5")
    assert catalogues.of((ProviderKey(provider="nobody", version="v"),)) is common
    assert mine is catalogues.of((ProviderKey(provider="openai", version="other"),))


def test_the_operators_fee_is_a_share_of_the_tokens_price(make_settings: MakeSettings) -> None:
    settings = make_settings(openai_api_key="sk-ours", helix_own_key_fee_thousandths=50)
    common = load_catalogue(settings)
    [ours] = common.find(f"openai/{MODEL}")
    [own] = OwnCatalogues(settings, common).of((ProviderKey(provider="openai", version="v"),)).find(f"openai/{MODEL}")

    assert ours.price is not None and own.price is not None
    assert (own.price.input, own.price.output) == (ours.price.input // 20, ours.price.output // 20)
    assert (own.price.request, own.price.search, own.price_version) == (0, None, None)


class Common(Unwatched):
    """Everybody's standing, with a circuit for all that there is, and a list of what it was told."""

    def __init__(self) -> None:
        self.told: list[Call] = []

    def picture(self) -> Picture:
        names = ("p/gpt", "p#0", "p/gpt#0", "q/gpt", "q#0")
        return Picture({name: Circuit(True, 0.0, 9.0, "auth") for name in names}, now=1.0)

    def began(self, offer: object, key: int) -> tuple[str, ...]:
        return ("probed",)

    def ended(self, call: Call) -> None:
        self.told.append(call)


def test_how_a_call_under_an_own_key_goes_is_no_word_about_the_provider() -> None:
    common, own, ours = Common(), replace(offer("p"), own_key=True), offer("q")
    standing = OwnStanding(common, frozenset({"p"}))

    assert set(standing.picture().circuits) == {"q/gpt", "q#0"}
    assert (standing.began(own, 0), standing.began(ours, 0)) == ((), ("probed",))
    for failed in (None, *get_args(FailureKind)):
        standing.ended(Call(own, 0, failed, 1.0))
    standing.ended(Call(ours, 0, None, 1.0))
    assert [call.offer for call in common.told] == [ours]
    assert Catalogue.of((own, ours)).find("p/gpt") == (own,)
