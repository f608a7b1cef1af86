"""`/v1/analytics`: what an account has spent, and what it could save. Read from the replica where there is one.

One rule: an account sees sums over its own requests and nobody else's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import orjson
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.authentication import identify
from app.http.cache import days_in
from app.http.refusals import Refused
from app.wiring import WebParts
from handlers.rules import optimizing
from handlers.rules.caching import TTL_S_DEFAULT
from handlers.rules.catalogue import Catalogue
from handlers.rules.rating import Usage
from handlers.rules.simulation import UNKNOWN, Used
from projections.spending import GroupBy, Repeats, Shape, Spent, repeats, shapes, spent

Json = dict[str, Any]
"""A document on its way to the client: the door is the one place where a bare dict is allowed."""

GROUPS: Final = ("model", "day", "key", "provider")

STRETCH_DAYS_MAX: Final = 366
"""A sum over more would read every month there is."""

DAY_S: Final = 86_400


class Analytics:
    """The routes below `/v1/analytics`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._sizes = _sizes(parts.catalogue)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/analytics/usage", self.usage, methods=["GET"]),
            Route("/v1/analytics/cost-optimization", self.cost_optimization, methods=["GET"]),
        ]

    async def usage(self, request: Request) -> Response:
        """Requests, tokens and cost of a stretch of time, by model, day, key or provider; adjustments included."""
        account = await self._account(request)
        until = _time(request, "to") or datetime.now(UTC)
        since = _time(request, "from") or until - timedelta(days=30)
        if not since < until <= since + timedelta(days=STRETCH_DAYS_MAX):
            raise Refused(400, "invalid_value", f"`from` lies before `to`, by {STRETCH_DAYS_MAX} days at most.")
        group_by = request.query_params.get("group_by", "model")
        if group_by not in GROUPS:
            raise Refused(400, "invalid_value", f"`group_by` is one of {', '.join(GROUPS)}.", param="group_by")
        try:
            async with self._parts.analytics.connect() as connection:
                found = await spent(connection, account, since=since, until=until, group_by=cast("GroupBy", group_by))
        except (OSError, DBAPIError):
            raise _unavailable() from None
        return _json(
            {
                "object": "analytics.usage",
                "from": since.isoformat(),
                "to": until.isoformat(),
                "group_by": group_by,
                "data": [_spent(one) for one in found],
                "total_cost": _money(sum(one.cost_nanousd for one in found)),
            }
        )

    async def cost_optimization(self, request: Request) -> Response:
        """What is spent, what it will come to in a month, and what other models and kept answers would save."""
        if not self._parts.settings.enable_cost_optimization:
            raise Refused(404, "not_enabled", "Cost optimization is not enabled here (ENABLE_COST_OPTIMIZATION).")
        account = await self._account(request)
        until = datetime.now(UTC)
        since = until - timedelta(days=days_in(request))
        try:
            async with self._parts.analytics.connect() as connection:
                found = await shapes(connection, account, since=since, until=until, sizes=self._sizes)
                asked_again = await repeats(connection, account, since=since, until=until, within_s=TTL_S_DEFAULT)
        except (OSError, DBAPIError):
            raise _unavailable() from None
        return _json(_optimized(found, asked_again, self._parts.catalogue, since, until))

    async def _account(self, request: Request) -> str:
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        return identity.account


def _optimized(
    found: list[Shape], asked_again: Repeats, catalogue: Catalogue, since: datetime, until: datetime
) -> Json:
    used = [_used(one) for one in found]
    first = min((one.since for one in found), default=until)
    days = (until - max(first, since)).total_seconds() / DAY_S
    by_model = optimizing.spending(used, days)
    switches = optimizing.switches(used, catalogue, days)
    requests, cost = sum(one.requests for one in by_model), sum(one.cost_nanousd for one in by_model)
    return {
        "object": "analytics.cost_optimization",
        "from": since.isoformat(),
        "to": until.isoformat(),
        "observed_days": round(days, 1),
        "requests": requests,
        "confidence": optimizing.confidence(requests, days),
        "current_cost": _money(cost),
        "projected_monthly_cost": _money(optimizing.monthly(cost, days)),
        "models": [
            {
                "provider": one.provider,
                "model": one.model,
                "requests": one.requests,
                "cost": _money(one.cost_nanousd),
                "projected_monthly_cost": _money(one.monthly_nanousd),
            }
            for one in by_model
        ],
        "switching": {
            "monthly_saving": _money(sum(one.monthly_saving_nanousd for one in switches)),
            "quality_margin": optimizing.QUALITY_MARGIN,
            "suggestions": [_switch(one) for one in switches],
        },
        "caching": {
            "monthly_saving": _money(optimizing.monthly(asked_again.cost_nanousd, days)),
            "kept_for_s": TTL_S_DEFAULT,
            "compared_requests": asked_again.compared,
            "repeated_requests": asked_again.repeated,
            "repeated_cost": _money(asked_again.cost_nanousd),
            "confidence": optimizing.confidence(asked_again.compared, days),
        },
        "limits": list(UNKNOWN),
    }


def _switch(one: optimizing.Switch) -> Json:
    return {
        "from": f"{one.provider}/{one.model}",
        "to": one.to.id,
        "quality_of_to": one.to.quality,
        "requests": one.requests,
        "cost": _money(one.cost_nanousd),
        "cost_then": _money(one.then_nanousd),
        "monthly_saving": _money(one.monthly_saving_nanousd),
        "confidence": one.confidence,
    }


def _used(one: Shape) -> Used:
    return Used(
        one.provider,
        one.model,
        "embedding" if one.embedding else "chat",
        one.requests,
        Usage(
            one.input_tokens,
            one.output_tokens,
            cached=one.cached_input_tokens,
            cache_write=one.cache_write_tokens,
            metered=one.metered,
        ),
        one.largest_tokens,
        one.cost_nanousd,
    )


def _sizes(catalogue: Catalogue) -> tuple[int, ...]:
    """Where prices change: the first size that a step is for."""
    return tuple(
        sorted({step.above + 1 for offer in catalogue if offer.price for step in offer.price.steps if step.above})
    )


def _spent(one: Spent) -> Json:
    return {
        "group": one.group,
        "requests": one.requests,
        "cached_requests": one.cached_requests,
        "input_tokens": one.input_tokens,
        "cached_input_tokens": one.cached_input_tokens,
        "output_tokens": one.output_tokens,
        "cost": _money(one.cost_nanousd),
        "adjusted": _money(one.adjusted_nanousd),
        "saved": _money(one.saved_nanousd),
    }


def _money(nanousd: int) -> Json:
    sign, (whole, rest) = "-" if nanousd < 0 else "", divmod(abs(nanousd), 10**9)
    return {"usd": f"{sign}{whole}.{rest:09}", "nanousd": nanousd}


def _time(request: Request, name: str) -> datetime | None:
    said = request.query_params.get(name)
    if said is None:
        return None
    try:
        at = datetime.fromisoformat(said.replace(" ", "+"))  # a plus sign that was not escaped in the address
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(400, "invalid_value", f"`{name}` is a day or a time, such as 2026-11-01.", param=name) from None


def _unavailable() -> Refused:
    return Refused(503, "database_unavailable", "This cannot be read just now; try again.")


def _json(document: Json) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
