"""`/v1/models`: what may be asked for, in the one shape that both OpenAI's and Anthropic's clients read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.authentication import identify
from app.http.delivery import usd
from app.http.refusals import Refused
from app.wiring import WebParts
from handlers.rules.catalogue import Offer

AUTO: Final = "auto"


class Models:
    """The catalogue as its clients see it. It does not change while the process runs, so it is written once."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        views: dict[str, dict[str, Any]] = {}
        for offer in parts.catalogue:
            for name in dict.fromkeys((offer.model, offer.id)):
                views.setdefault(name, _view(name, offer))
        if views:
            views[AUTO] = _auto()
        self._views = {name: orjson.dumps(view) for name, view in views.items()}
        ids = list(views)
        self._list = orjson.dumps(
            {
                "object": "list",
                "data": list(views.values()),
                "has_more": False,
                "first_id": ids[0] if ids else None,
                "last_id": ids[-1] if ids else None,
            }
        )

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.list, methods=["GET"]),
            Route("/v1/models/{id:path}", self.show, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        await identify(self._parts.identities, request.scope["headers"], "chat")
        return Response(self._list, media_type="application/json")

    async def show(self, request: Request) -> Response:
        await identify(self._parts.identities, request.scope["headers"], "chat")
        id = request.path_params["id"]
        view = self._views.get(id)
        if view is None:
            raise Refused(404, "model_not_found", f"The model `{id[:100]}` does not exist.", param="model")
        return Response(view, media_type="application/json")


def _view(name: str, offer: Offer) -> dict[str, Any]:
    price = offer.price
    return _shape(name, offer.provider, offer.created) | {
        "provider": offer.provider,
        "context_window": offer.context_window,
        "output_tokens_max": offer.output_tokens_max,
        "input_usd_per_million": usd(price.input) if price else None,
        "output_usd_per_million": usd(price.output) if price else None,
        "prices_as_of": price.as_of if price else None,
        "capabilities": sorted(offer.capabilities),
        "simulated": offer.simulated,
    }


def _auto() -> dict[str, Any]:
    """The name under which the router chooses."""
    return _shape(AUTO, "helix", 0) | {
        "provider": None,
        "context_window": None,
        "output_tokens_max": None,
        "input_usd_per_million": None,
        "output_usd_per_million": None,
        "prices_as_of": None,
        "capabilities": [],
        "simulated": False,
    }


def _shape(name: str, owner: str, created: int) -> dict[str, Any]:
    """OpenAI's fields and Anthropic's, which do not disturb each other."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
    }
