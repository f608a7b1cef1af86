"""`/v1/providers/status`: how every model of every provider stands, as all workers together have seen it lately."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import telemetry
from app.http.authentication import identify
from app.http.refusals import Refused
from app.standing.shared import AWAY, Told
from app.standing.tallies import KEPT, STRETCH_S, Cells, quantile, stretch_of, summed
from app.wiring import WebParts
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.circuit import Circuit, offer_key, provider_key, state

log = structlog.get_logger()

REMEMBERED_S: Final = 1.0
"""However many ask, the cache server is read once a second."""

Json = dict[str, object]
"""A document on its way to the client."""


class ProvidersStatus:
    """The route."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._body = b""
        self._until = 0.0

    def routes(self) -> list[Route]:
        return [Route("/v1/providers/status", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """Every provider, with its models."""
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        if time.monotonic() >= self._until:
            try:
                told = await self._parts.standing.read(time.time())
            except AWAY as away:
                log.warning("standing_unreadable", error=telemetry.kind_of(away))
                raise Refused(
                    503, "status_unavailable", "The cache cannot be reached, so this is not known just now; try again."
                ) from None
            self._body = orjson.dumps(status(self._parts.catalogue, told))
            self._until = time.monotonic() + REMEMBERED_S
        return Response(self._body, media_type="application/json")


def status(catalogue: Catalogue, told: Told) -> Json:
    """The document: what was counted in the latest minute, and what rests now."""
    providers: dict[str, list[Offer]] = {}
    for offer in catalogue:
        providers.setdefault(offer.provider, []).append(offer)
    return {
        "object": "list",
        "as_of": _time(told.now),
        "window_s": KEPT * STRETCH_S,
        "data": [_provider(name, offers, told) for name, offers in providers.items()],
    }


def _provider(name: str, offers: Sequence[Offer], told: Told) -> Json:
    keys = [told.circuits.get(provider_key(name, key)) for key in range(len(offers[0].keys))]
    models = [_model(offer, told) for offer in offers]
    words = {model["status"] for model in models}
    return {
        "object": "provider",
        "provider": name,
        "status": "healthy" if words == {"healthy"} else "cooling_down" if "healthy" not in words else "degraded",
        "keys": [{"key": number, **_standing(circuit, told.now)} for number, circuit in enumerate(keys, 1)],
        "models": models,
    }


def _model(offer: Offer, told: Told) -> Json:
    cells = summed((told.counted,), offer.id, stretch_of(told.now) - KEPT)
    calls = cells["calls"]
    return {
        "id": offer.id,
        "model": offer.model,
        **_standing(_circuit(offer, told), told.now),
        "calls": calls,
        "error_rate": round(cells["failed"] / calls, 4) if calls else None,
        "latency_ms": _quantiles(cells, "l"),
        "time_to_first_token_ms": _quantiles(cells, "t"),
    }


def _circuit(offer: Offer, told: Told) -> Circuit | None:
    """What keeps the offer from being asked: its own circuit, or that of the key which is free first when all rest."""
    own = told.circuits.get(offer.id)
    if state(own, told.now) != "healthy":
        return own
    resting: list[Circuit] = []
    for key in range(len(offer.keys)):
        names = (provider_key(offer.provider, key), offer_key(offer.id, key))
        circuits = [circuit for name in names if (circuit := told.circuits.get(name))]
        asleep = [circuit for circuit in circuits if state(circuit, told.now) != "healthy"]
        if not asleep:
            return own
        resting.append(max(asleep, key=lambda circuit: circuit.until))
    return min(resting, key=lambda circuit: circuit.until)


def _standing(circuit: Circuit | None, now: float) -> Json:
    """`since`: when it began to rest, or when it last came back, as far as that is remembered."""
    word = state(circuit, now)
    if circuit is None or word == "healthy":
        since = circuit.since if circuit is not None and not circuit.cooling else None
        return {"status": "healthy", "since": _time(since), "until": None, "why": None}
    return {"status": word, "since": _time(circuit.since), "until": _time(circuit.until), "why": circuit.why}


def _quantiles(cells: Cells, of: str) -> Json:
    return {"p50": quantile(cells, of, 0.5), "p95": quantile(cells, of, 0.95)}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
