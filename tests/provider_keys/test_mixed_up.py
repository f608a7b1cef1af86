"""A8: whoever asks at the same time as others is asked for with his own key, and with nobody else's.

HELIX_KEY_CALLS=100000 is the long run.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

import pytest

from app.database import Pool
from app.ids import new_id
from app.key_ring import KeyRing
from app.provider_keys import store
from app.provider_keys.asking import OwnKeys
from app.provider_keys.cabinet import Cabinet
from app.provider_keys.catalogues import OwnCatalogues
from app.providers.world import World
from app.settings import Settings
from app.vault import Vault
from events.completions import ProviderKey
from handlers.ports import Ports, ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Catalogue, Offer
from tests.conftest import MakeSettings
from tests.fakes.road import ScriptedProviders
from tests.fakes.road import ports as scripted
from tests.provider_keys import GONE, MODEL, Echo, digest, echoing

ACCOUNTS: Final = 200
CALLS: Final = int(os.environ.get("HELIX_KEY_CALLS", "2000"))

ASKED = Question("openai", json.dumps({"model": MODEL, "messages": []}).encode(), False, False)


class Customer:
    """One account with its key, and the ports of a request of its."""

    def __init__(self, account: str, key: str, own: OwnKeys, vault: Vault) -> None:
        self.account = account
        self.key = key
        self._own = own
        self._vault = vault
        self.named: tuple[ProviderKey, ...] = ()

    async def store(self, pool: Pool, key: str) -> None:
        """Bring this key."""
        box = await self._vault.box(self.account)
        async with pool.acquire() as connection:
            stored = await store.put(connection, self.account, box, "openai", key, by="operator")
        self.key = key
        self.named = (ProviderKey(provider="openai", version=stored.version),)

    async def ports(self) -> Ports:
        common = scripted(ScriptedProviders(Catalogue.of(())))
        return await self._own.ports(common, self.account, await self._vault.box(self.account), self.named)

    async def ask(self) -> str:
        """What the provider says it was asked with. Raises ProviderFailed."""
        ports = await self.ports()
        [offer] = ports.providers.catalogue.find(f"openai/{MODEL}")
        return await asked(ports, offer)


async def asked(ports: Ports, offer: Offer) -> str:
    heard = Transcript(lambda frame: None)
    await ports.providers.ask(offer, ASKED, heard, deadline_s=30)
    assert heard.answer is not None
    return str(json.loads(heard.answer)["choices"][0]["message"]["content"])


class Many:
    """A worker's part of it, over a provider that says what key it got."""

    def __init__(self, settings: Settings, echo: Echo, pool: Pool) -> None:
        self.echo = echo
        self.pool = pool
        self.world = World(settings)
        self.vault = Vault(pool, KeyRing.parse(settings.api_key_encryption_key.get_secret_value()))
        self.cabinet = Cabinet(pool)
        self.own = OwnKeys(self.world, OwnCatalogues(settings, self.world.catalogue), self.cabinet)

    async def customer(self, key: str) -> Customer:
        made = Customer(new_id(), key, self.own, self.vault)
        await made.store(self.pool, key)
        return made


@pytest.fixture
async def many(make_settings: MakeSettings, pool: Pool) -> AsyncIterator[Many]:
    """Without a key of ours for OpenAI."""
    async with echoing() as echo:
        made = Many(make_settings(openai_base_url=f"http://127.0.0.1:{echo.port}/v1"), echo, pool)
        yield made
        await made.world.close()


@pytest.fixture
async def with_ours(make_settings: MakeSettings, pool: Pool) -> AsyncIterator[Many]:
    async with echoing() as echo:
        url = f"http://127.0.0.1:{echo.port}/v1"
        made = Many(make_settings(openai_base_url=url, openai_api_key="sk-ours-and-nobody-elses"), echo, pool)
        yield made
        await made.world.close()


async def test_two_hundred_accounts_at_once_are_each_asked_for_with_their_own_key(many: Many) -> None:
    customers = [await many.customer(f"sk-{secrets.token_hex(20)}") for _ in range(ACCOUNTS)]
    mismatches: Counter[bool] = Counter()

    async def live(customer: Customer, calls: int) -> None:
        for call in range(calls):
            if call == calls // 2:
                await customer.store(many.pool, f"sk-{secrets.token_hex(20)}")  # another key, in the middle of it
            mismatches[await customer.ask() != digest(customer.key)] += 1

    await asyncio.gather(*(live(customer, CALLS // ACCOUNTS) for customer in customers))

    assert mismatches == {False: CALLS}
    assert many.echo.heard.total() == CALLS
    assert len(many.echo.heard) == 2 * ACCOUNTS


async def test_a_key_that_the_provider_refuses_is_the_end_and_ours_is_not_used(with_ours: Many) -> None:
    bad = await with_ours.customer(f"sk-{GONE}-{secrets.token_hex(20)}")

    with pytest.raises(ProviderFailed) as refused:
        await bad.ask()

    assert (refused.value.kind, refused.value.status) == ("own_key_refused", 401)
    assert bad.key not in refused.value.message
    assert with_ours.echo.heard == {digest(bad.key): 1}


async def test_a_key_that_was_taken_away_meanwhile_is_not_replaced_by_ours(with_ours: Many) -> None:
    customer = await with_ours.customer(f"sk-{secrets.token_hex(20)}")
    assert await customer.ask() == digest(customer.key)
    async with with_ours.pool.acquire() as connection:
        assert await store.remove(connection, customer.account, "openai", by="operator")
    with_ours.cabinet.forget(customer.account)

    with pytest.raises(ProviderFailed) as refused:
        await customer.ask()

    assert refused.value.kind == "own_key_refused"
    assert with_ours.echo.heard == {digest(customer.key): 1}


async def test_who_has_brought_none_is_asked_for_with_ours(with_ours: Many) -> None:
    await with_ours.customer(f"sk-{secrets.token_hex(20)}")
    common = replace(scripted(ScriptedProviders(Catalogue.of(()))), providers=with_ours.world)
    [offer] = with_ours.world.catalogue.find(f"openai/{MODEL}")

    assert not offer.own_key
    assert await asked(common, offer) == digest("sk-ours-and-nobody-elses")
