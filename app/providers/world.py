"""The models of the world, for a worker: each offer is asked in the way its provider speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from app.providers import counting
from app.providers.anthropic import AnthropicWire
from app.providers.catalogue import load_catalogue
from app.providers.embeddings import EmbeddingsWire
from app.providers.endpoints import Endpoint, bring_keys, endpoints, listed_providers
from app.providers.litellm_library import ready
from app.providers.longtail import LongTail
from app.providers.messages import MessagesWire
from app.providers.openai import OpenAiWire
from app.providers.passing import Passage, PassThrough
from app.providers.responses import ResponsesWire
from app.providers.translation import WIRES, Translation, inner_question
from app.providers.transport import Transport
from app.settings import Settings
from events.completions import Wire
from handlers.ports import ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer, ProviderWire
from handlers.rules.rating import Usage


class Adapter(Protocol):
    """How one provider is asked, in any wire."""

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None: ...


class InnerAdapter(Protocol):
    """How one provider is asked in the inner form."""

    async def ask(self, offer: Offer, question: Question, passage: Passage, *, deadline_s: float) -> None: ...


_SAME: Mapping[tuple[Wire, ProviderWire], Callable[[Endpoint, Transport], Adapter]] = {
    ("anthropic", "anthropic"): MessagesWire,
    ("responses", "openai"): ResponsesWire,
    ("embeddings", "openai"): EmbeddingsWire,
}
"""(client's wire, provider's wire) → who passes it on untouched. Chat completions are the inner form itself; every pair
that does not stand here is translated."""


class World:
    """`handlers.ports.Providers` over the network. `warm` before the first question, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self.catalogue = load_catalogue(settings)
        listed = listed_providers(settings.helix_providers)
        self._endpoints = endpoints(settings, listed)
        self._bring = bring_keys(settings, listed)
        self._transport: Transport | None = None
        self._adapters: dict[tuple[str, int], Adapter] = {}
        """By the provider's name and the number of its key."""

    async def warm(self) -> None:
        """Load what takes long, away from the event loop."""
        await asyncio.to_thread(counting.encoding)
        if any(offer.wire != "openai" for offer in self.catalogue):
            await ready()

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()

    async def ask(
        self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float, key: int = 0
    ) -> None:
        adapter = self._adapters.get((offer.provider, key))
        if adapter is None:
            self._transport = self._transport or Transport()
            adapter = AnyWire(self._endpoints[offer.provider].with_key(key), self._transport)
            self._adapters[offer.provider, key] = adapter
        await adapter.ask(offer, question, heard, deadline_s=deadline_s)

    def adapter(self, provider: str, own_key: str) -> Adapter:
        """The provider, asked with a customer's key. Made for one request and not remembered, so that nobody else can be
        given it; where it listens comes from the settings, as always."""
        self._transport = self._transport or Transport()
        return AnyWire(replace(self._bring[provider], api_key=own_key), self._transport)

    def count(self, question: Question, text: str) -> Usage:
        return counting.count(question, text)


class AnyWire:
    """One provider, asked in the client's wire where it speaks that, and in the inner form where it does not."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        self._endpoint = endpoint
        self._inner = _inner(endpoint, transport)
        self._same = {wire: make(endpoint, transport) for (wire, of), make in _SAME.items() if of == endpoint.wire}

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None:
        same = self._same.get(question.wire)
        if same is not None and (question.wire != "responses" or "responses" in offer.capabilities):
            await same.ask(offer, question, heard, deadline_s=deadline_s)
        elif question.wire == "openai":
            await self._inner.ask(offer, question, PassThrough(question, heard), deadline_s=deadline_s)
        elif question.wire in WIRES:
            inner = inner_question(question, offer, self._endpoint)
            await self._inner.ask(offer, inner, Translation(question, heard), deadline_s=deadline_s)
        else:
            raise ProviderFailed("not_found", "This provider has no embeddings.")


def _inner(endpoint: Endpoint, transport: Transport) -> InnerAdapter:
    match endpoint.wire:
        case "openai":
            return OpenAiWire(endpoint, transport)
        case "anthropic":
            return AnthropicWire(endpoint, transport)
        case "litellm":
            return LongTail(endpoint)
