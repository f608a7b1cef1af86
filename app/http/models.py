"""`/v1/models`: what may be asked for, in the one shape that both OpenAI's and Anthropic's clients read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.asked import DISGUISE, offered_to
from app.http.authentication import header, identify
from app.http.delivery import usd
from app.http.refusals import Refused
from app.identity import Identity
from app.wiring import WebParts
from handlers.rules.catalogue import Catalogue, Offer

AUTO: Final = "auto"

PAGE_MAX: Final = 1000
"""Anthropic's own bound, and what Claude Code asks for."""

FAMILIAR: Final = ("claude", "anthropic")
"""Claude Code's picker shows models whose names begin so, and no others."""

Views = dict[str, dict[str, Any]]
"""Models as they are shown, by id; the door is the one place where a bare dict is allowed."""


class Models:
    """The catalogue as its clients see it. It does not change while the process runs, so it is written once."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._views = _views(parts.catalogue)
        self._openai, self._anthropic = _families(self._views)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.list, methods=["GET"]),
            Route("/v1/models/{id:path}", self.show, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """All models; a page of them for who asks with a limit."""
        identity = await identify(self._parts, request.scope)
        return Response(self._family(request, identity).page(request), media_type="application/json")

    async def show(self, request: Request) -> Response:
        identity = await identify(self._parts, request.scope)
        id = request.path_params["id"]
        view = self._family(request, identity).known.get(id)
        if view is None:
            raise Refused(404, "model_not_found", f"The model `{id[:100]}` does not exist.", param="model")
        return Response(orjson.dumps(view), media_type="application/json")

    def _family(self, request: Request, identity: Identity) -> _Family:
        """What this key may ask for, as this client's family sees it."""
        openai, anthropic = self._openai, self._anthropic
        if identity.models is not None or identity.provider_keys:
            catalogue = self._parts.catalogue_of(identity)
            mine = _views(catalogue) if identity.provider_keys else self._views
            if identity.models is not None:
                allowed = offered_to(catalogue, identity.models)
                mine = {name: view for name, view in mine.items() if offered_to(catalogue, [name]) <= allowed}
            openai, anthropic = _families(mine)
        return openai if header(request.scope["headers"], b"anthropic-version") is None else anthropic


class _Family:
    """The models as one family of clients sees them: those of its list, whole and in pages, and all that it may name."""

    def __init__(self, listed: Views, known: Views) -> None:
        self.known = known
        self._views = list(listed.values())
        self._places = {name: place for place, name in enumerate(listed)}
        self._all = _list(self._views, more=False)

    def page(self, request: Request) -> bytes:
        """What the query asks for. Raises Refused 400 when it makes no sense."""
        query = request.query_params
        limit = query.get("limit")
        after, before = query.get("after_id") or query.get("after"), query.get("before_id")
        if limit is None and after is None and before is None:
            return self._all
        if limit is not None and (not re.fullmatch(r"\d{1,4}", limit) or not 1 <= int(limit) <= PAGE_MAX):
            raise Refused(400, "invalid_value", f"`limit` is a number from 1 to {PAGE_MAX}.", param="limit")
        most = int(limit) if limit is not None else PAGE_MAX
        if before is not None:
            end = self._place("before_id", before)
            first = max(0, end - most)
            return _list(self._views[first:end], more=first > 0)
        first = 0 if after is None else self._place("after_id", after) + 1
        return _list(self._views[first : first + most], more=first + most < len(self._views))

    def _place(self, param: str, id: str) -> int:
        if id not in self._places:
            raise Refused(400, "invalid_value", f"`{param}` is the id of a model.", param=param)
        return self._places[id]


def _views(catalogue: Catalogue) -> Views:
    views: Views = {}
    for offer in catalogue:
        for name in dict.fromkeys((offer.model, offer.id)):
            views.setdefault(name, _view(name, offer))
    if views:
        views[AUTO] = _auto()
    return views


def _families(views: Views) -> tuple[_Family, _Family]:
    """The models for OpenAI's clients, and for Anthropic's."""
    disguised = _disguised(views)
    for_anthropic = {name: _for_anthropic(view) for name, view in views.items()}
    return _Family(views, views), _Family(disguised, for_anthropic | disguised)


def _list(views: list[dict[str, Any]], *, more: bool) -> bytes:
    return orjson.dumps(
        {
            "object": "list",
            "data": views,
            "has_more": more,
            "first_id": views[0]["id"] if views else None,
            "last_id": views[-1]["id"] if views else None,
        }
    )


def _disguised(views: Views) -> Views:
    """The models that answer messages, each under a name that Anthropic's clients show."""
    named = {
        name if name.startswith(FAMILIAR) else DISGUISE + name: view
        for name, view in views.items()
        if view["kind"] == "chat"
    }
    return {name: _for_anthropic(view) | {"id": name} for name, view in named.items()}


def _for_anthropic(view: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's own names for the bounds; its `capabilities` ask for more than we know, and may be null."""
    bounds = {"max_input_tokens": view["context_window"], "max_tokens": view["output_tokens_max"]}
    return view | bounds | {"capabilities": None}


def _view(name: str, offer: Offer) -> dict[str, Any]:
    price = offer.price
    return _shape(name, offer.provider, offer.created) | {
        "provider": offer.provider,
        "kind": offer.kind,
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
        "kind": "chat",
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
