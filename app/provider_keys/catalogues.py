"""What an account may ask for that has brought keys of its own: all that others may, and its providers' models besides.

One rule: an offer that is asked with the account's own key says so (`Offer.own_key`), costs the operator's fee instead of its
price, and stands in that account's catalogue alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from app.bounded_cache import BoundedCache
from app.providers.catalogue import offers_of
from app.providers.endpoints import Endpoint, bring_keys, listed_providers
from app.providers.litellm_prices import uplifted
from app.providers.price_list import PRICES_FILE, price_list
from app.settings import Settings
from events.completions import ProviderKey
from handlers.rules.catalogue import Catalogue, Offer, Price

CATALOGUES_MAX: Final = 64
"""One for each set of providers that accounts have keys for: with four built in there are sixteen. Half a megabyte each."""

_KEEP_S: Final = 86_400.0
"""As the operator's own list, which is read at the start: models that are retired meanwhile fail at the provider."""


class OwnCatalogues:
    def __init__(self, settings: Settings, common: Catalogue) -> None:
        """`common` is what everybody may ask for."""
        self._settings = settings
        self._common = common
        self.endpoints = bring_keys(settings, listed_providers(settings.helix_providers))
        """The providers that customers may bring a key for, without a key."""
        self._made: BoundedCache[frozenset[str], Catalogue] = BoundedCache(CATALOGUES_MAX)

    def of(self, keys: Iterable[ProviderKey]) -> Catalogue:
        """The catalogue of an account that has these keys. The first for a provider that we have no key for takes some 60 ms,
        once in a process."""
        own = frozenset(key.provider for key in keys if key.provider in self.endpoints)
        if not own:
            return self._common
        found = self._made.get(own)
        if found is None:
            found = Catalogue.of(self._offers(own))
            self._made.put(own, found, keep_s=_KEEP_S)
        return found

    def _offers(self, own: frozenset[str]) -> Iterable[Offer]:
        known = {offer.provider for offer in self._common}
        for offer in self._common:
            yield self._owned(offer) if offer.provider in own else offer
        for provider in sorted(own - known):
            yield from map(self._owned, self._dormant(self.endpoints[provider]))

    def _dormant(self, endpoint: Endpoint) -> Iterable[Offer]:
        """The models of a provider that we have no key for."""
        prices = price_list(self._settings.helix_prices or PRICES_FILE)
        return offers_of(endpoint, prices, datetime.now(UTC).date())

    def _owned(self, offer: Offer) -> Offer:
        price = fee(offer.price, self._settings.helix_own_key_fee_thousandths)
        # The fee is no price of the provider's: the price book has no row for it.
        return replace(offer, own_key=True, keys=(1,), price=price, price_version=None)


def fee(price: Price | None, thousandths: int) -> Price | None:
    """So many thousandths of what the tokens would cost; searches and the like are between the customer and his provider."""
    if price is None or thousandths == 0:
        return None
    tokens = replace(price, search=None, request=0, as_of=f"{price.as_of}, {thousandths}/1000 for one's own key")
    return uplifted(tokens, thousandths)
