"""`/v1/budgets` and `/v1/limits`: what an account may spend and ask for, and how much of it is gone.

One rule: whoever is held to a budget of his own key does not change budgets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Final, cast, get_args

import structlog
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.changes import Change, ChannelDown, tell
from app.database import Unavailable, borrowed
from app.http.admitting import bounds_of
from app.http.authentication import identify
from app.http.budget_shapes import BudgetList, BudgetPut, BudgetRemovedView, BudgetView, Kind, LimitsView
from app.http.delivery import usd
from app.http.limit_refusals import unknown
from app.http.refusals import Refused
from app.http.shaped_body import shaped_body
from app.identity import Identity
from app.limits import budgets
from app.limits.budgets import BudgetRefused, NobodyThere
from app.limits.reckoning import NotReckoned
from app.log import LogGone, keys, purses
from app.log.connection import LogRefused
from app.wiring import WebParts
from handlers.rules.budgets import NANO, Budget, Period, Spent, end_of, reached

log = structlog.get_logger()

PATH: Final = "/v1/budgets/{subject}/{period}/{kind}"


class Budgets:
    """The routes below `/v1/budgets`, and `/v1/limits`."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._forget = partial(purses.forget, parts.log)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/limits", self.limits, methods=["GET"]),
            Route("/v1/budgets", self.list, methods=["GET"]),
            Route(PATH, self.put, methods=["PUT"]),
            Route(PATH, self.remove, methods=["DELETE"]),
        ]

    async def limits(self, request: Request) -> Response:
        """What the key may ask for, and what is used of it."""
        identity = await self._identity(request)
        bounds = await bounds_of(self._parts, identity)
        stream, p = self._parts.log, self._parts.log.partition_of(identity.account)
        with _worded():
            today, in_flight = await asyncio.gather(
                stream.command("GET", keys.day(p, identity.account)),
                stream.command("ZCARD", keys.open_requests(p, identity.account)),
            )
        made = int(today or 0) if bounds.limits.requests_a_day else None
        view = LimitsView(tier=identity.tier, requests_today=made, in_flight=int(in_flight), **asdict(bounds.limits))
        return _json(view)

    async def list(self, request: Request) -> Response:
        """The account's budgets."""
        identity = await self._identity(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                found = await budgets.budgets_of(connection, identity.account)
            spent = {}
            for subject in dict.fromkeys(one.subject for one in found):
                spent[subject] = await self._parts.reckoner.spent(identity.account, subject)
        return _json(BudgetList(data=[_view(one, spent[one.subject]) for one in found]))

    async def put(self, request: Request) -> Response:
        """Make a budget, or change its limit; it holds for what is asked from now on."""
        identity = await self._writer(request)
        subject, period, kind = _place(request)
        body = await shaped_body(BudgetPut, request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                budget = await budgets.set_budget(
                    connection,
                    identity.account,
                    subject,
                    period,
                    hard=kind == "hard",
                    limit_nanousd=int(Decimal(body.limit_usd) * NANO),
                    alerts=body.alert_percent,
                    by=identity.by,
                    forget=self._forget,
                )
            await self._tell(identity.account)
            spent = await self._parts.reckoner.spent(identity.account, budget.subject)
        log.info("budget_set", account=identity.account, subject=budget.subject, period=period, hard=budget.hard)
        return _json(_view(budget, spent))

    async def remove(self, request: Request) -> Response:
        """From now on it holds nobody."""
        identity = await self._writer(request)
        subject, period, kind = _place(request)
        with _worded():
            async with borrowed(self._parts.pool) as connection:
                gone = await budgets.remove_budget(
                    connection, identity.account, subject, period, hard=kind == "hard", by=identity.by
                )
        await self._tell(identity.account)
        if gone:
            log.info("budget_removed", account=identity.account, period=period)
        return _json(BudgetRemovedView(deleted=gone))

    async def _identity(self, request: Request) -> Identity:
        identity = await identify(self._parts, request.scope)
        request.scope["state"]["account"] = identity.account
        return identity

    async def _writer(self, request: Request) -> Identity:
        identity = await self._identity(request)
        bounds = await bounds_of(self._parts, identity)
        if any(purse.subject.startswith("key:") for purse in bounds.purses):
            raise Refused(403, "key_has_budget", "A key that has a budget of its own does not change budgets.")
        return identity

    async def _tell(self, account: str) -> None:
        """Every process forgets what it remembered; this one at once."""
        change = Change("account", account)
        self._parts.identities.forget(change)
        try:
            await tell(self._parts.settings.cache, change)
        except ChannelDown:
            log.warning("budget_change_not_told", account=account)  # the others find it within a minute


@contextmanager
def _worded() -> Iterator[None]:
    """What goes wrong below, in words for a client."""
    try:
        yield
    except NobodyThere:
        raise Refused(404, "not_found", "The account has no such key or member.") from None
    except BudgetRefused as refused:
        raise Refused(400, "invalid_value", str(refused), param=refused.field) from None
    except (Unavailable, NotReckoned, LogGone, LogRefused):
        raise unknown() from None


def _place(request: Request) -> tuple[str, Period, Kind]:
    """Raises Refused 404 for a path that no budget can have."""
    subject, period, kind = (request.path_params[name] for name in ("subject", "period", "kind"))
    # A balance is the operator's to fill.
    if period not in ("day", "month") or kind not in get_args(Kind):
        raise Refused(404, "not_found", "A budget is for a `day` or a `month`, and `hard` or `soft`.")
    return subject, cast(Period, period), cast(Kind, kind)


def _view(budget: Budget, spent: Spent) -> BudgetView:
    gone = spent.in_period(budget.period)
    ends = end_of(budget.period, datetime.now(UTC))
    return BudgetView(
        id=budget.id,
        subject=budget.subject,
        period=budget.period,
        kind="hard" if budget.hard else "soft",
        limit_usd=usd(budget.limit_nanousd),
        spent_usd=usd(gone),
        reserved_usd=usd(spent.held),
        left_usd=usd(max(0, budget.limit_nanousd - gone - spent.held)),
        alert_percent=list(budget.alerts),
        reached_percent=list(reached(budget, spent)),
        period_ends_at=None if ends is None else ends.isoformat(),
    )


def _json(view: BaseModel) -> Response:
    return Response(view.model_dump_json(), media_type="application/json")
