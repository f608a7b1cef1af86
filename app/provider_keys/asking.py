"""One request of an account that has brought keys: the world as it sees it.

One rule: a provider that the account has a key for is asked with that key or not at all, and how such a call goes is no
word about the provider to anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from app.provider_keys.cabinet import Cabinet
from app.provider_keys.catalogues import OwnCatalogues
from app.vault import VaultRefused
from events.completions import ProviderKey
from handlers.ports import Box, Ports, ProviderFailed, Question, Standing, Transcript
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.rating import Usage
from handlers.rules.standing import Call, Picture

if TYPE_CHECKING:
    from app.providers.world import World

log = structlog.get_logger()

REFUSED: Final = "own_key_refused"


class OwnKeys:
    """The ports of a request, as its account's keys make them."""

    def __init__(self, world: World, catalogues: OwnCatalogues, cabinet: Cabinet) -> None:
        self._world = world
        self._catalogues = catalogues
        self._cabinet = cabinet

    async def ports(self, common: Ports, account: str, box: Box, named: tuple[ProviderKey, ...]) -> Ports:
        """For a request that names these keys. One that has been changed since is used as it is by now, one that has been
        taken away, or does not open, not at all. Raises `app.database.Unavailable`."""
        found = await self._cabinet.of(account, named)
        keys: dict[str, str] = {}
        for name in named:
            sealed = found.get(name.provider)
            try:
                if sealed is not None:
                    keys[name.provider] = sealed.open(box)
            except VaultRefused as refused:
                log.error("provider_key_not_opened", account=account, provider=name.provider, reason=str(refused))
        providers = OwnWorld(self._world, self._catalogues.of(named), keys)
        standing = OwnStanding(common.standing, frozenset(name.provider for name in named))
        return replace(common, providers=providers, standing=standing)


class OwnWorld:
    """`handlers.ports.Providers` for one request. Nothing of it outlives the request, so nothing of it can meet another's."""

    def __init__(self, world: World, catalogue: Catalogue, keys: Mapping[str, str]) -> None:
        self.catalogue = catalogue
        self._world = world
        self._keys = keys

    async def ask(
        self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float, key: int = 0
    ) -> None:
        if not offer.own_key:
            await self._world.ask(offer, question, heard, deadline_s=deadline_s, key=key)
            return
        own = self._keys.get(offer.provider)
        if own is None:
            raise ProviderFailed(REFUSED, f"The key that this account had for {offer.provider} has been taken away.")
        try:
            await self._world.adapter(offer.provider, own).ask(offer, question, heard, deadline_s=deadline_s)
        except ProviderFailed as failed:
            if failed.kind != "auth":
                raise
            # The provider's own words may repeat the key.
            message = f"{offer.provider} refused the key that this account has brought."
            raise ProviderFailed(REFUSED, message, status=failed.status) from None

    def count(self, question: Question, text: str) -> Usage:
        return self._world.count(question, text)


class OwnStanding:
    """What is known of the providers, without those that are asked with the account's own keys: a customer's key may be
    limited or refused while the provider is well, and the other way round."""

    def __init__(self, common: Standing, own: frozenset[str]) -> None:
        self._common = common
        self._own = own

    def picture(self) -> Picture:
        picture = self._common.picture()
        kept = {name: circuit for name, circuit in picture.circuits.items() if _provider(name) not in self._own}
        return replace(picture, circuits=kept)

    def began(self, offer: Offer, key: int) -> tuple[str, ...]:
        return () if offer.own_key else self._common.began(offer, key)

    def ended(self, call: Call) -> None:
        if not call.offer.own_key:
            self._common.ended(call)

    def left(self, probed: tuple[str, ...]) -> None:
        if probed:
            self._common.left(probed)


def _provider(circuit: str) -> str:
    """Of `provider/model`, `provider#1` or `provider/model#1`."""
    return circuit.partition("/")[0].partition("#")[0]
