"""The models of the world, for a worker: each offer is asked in the way its provider speaks."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.providers import counting
from app.providers.anthropic import AnthropicWire
from app.providers.catalogue import load_catalogue
from app.providers.endpoints import Endpoint, endpoints, listed_providers
from app.providers.litellm_library import ready
from app.providers.longtail import LongTail
from app.providers.openai import OpenAiWire
from app.providers.transport import Transport
from app.settings import Settings
from handlers.ports import Question, Transcript
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage


class Adapter(Protocol):
    """How one provider is asked."""

    async def ask(self, offer: Offer, question: Question, heard: Transcript, *, deadline_s: float) -> None: ...


class World:
    """`handlers.ports.Providers` over the network. `warm` before the first question, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self.catalogue = load_catalogue(settings)
        self._endpoints = endpoints(settings, listed_providers(settings.helix_providers))
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
            adapter = adapter_for(self._endpoints[offer.provider].with_key(key), self._transport)
            self._adapters[offer.provider, key] = adapter
        await adapter.ask(offer, question, heard, deadline_s=deadline_s)

    def count(self, question: Question, text: str) -> Usage:
        return counting.count(question, text)


def adapter_for(endpoint: Endpoint, transport: Transport) -> Adapter:
    match endpoint.wire:
        case "openai":
            return OpenAiWire(endpoint, transport)
        case "anthropic":
            return AnthropicWire(endpoint, transport)
        case "litellm":
            return LongTail(endpoint)
