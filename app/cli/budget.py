"""`helix budget` and `helix limits`: what an account may spend and ask for, in the operator's hand.

One rule: a balance is filled here alone; Stripe will do the same by the same road.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar, cast
from uuid import UUID

import typer

from app.cli.over_log import over_log, refuse

if TYPE_CHECKING:
    from app.database import Connection
    from app.log import Log
    from handlers.rules.budgets import Budget, Period, Spent

budget = typer.Typer(no_args_is_help=True, help="What accounts may spend.")
limits = typer.Typer(no_args_is_help=True, help="What accounts may ask for, instead of what their tier says.")

Who = Annotated[str, typer.Argument(metavar="WHO", help="A user's address, or the id of a user or team.")]
For = Annotated[str, typer.Option("--for", help="account, key:ID, or in a team member:ID.")]
PeriodWord = Annotated[str, typer.Option("--period", help="day or month, UTC.")]
Soft = Annotated[bool, typer.Option("--soft", help="Only tell; otherwise what would pass it is refused.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]

Value = TypeVar("Value")

_DOLLARS: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")
"""Up to nano-dollars."""


@budget.command("list")
def list_budgets(who: Who, as_json: AsJson = False) -> None:
    """An account's budgets, and how they stand."""

    async def work(log: Log, connection: Connection, account: str) -> list[tuple[Budget, Spent | None]]:
        from app.limits.budgets import budgets_of
        from app.log import purses
        from handlers.rules.budgets import Spent

        found: list[tuple[Budget, Spent | None]] = []
        for each in await budgets_of(connection, account):
            seen = await purses.count(log, account, each.subject)
            spent = Spent(seen.in_day, seen.in_month, seen.ever, seen.held) if seen.known else None
            found.append((each, spent))
        return found

    rows = [_shown(*each) for each in _over_both(who, work)]
    if as_json:
        typer.echo(json.dumps({"object": "list", "data": rows}))
        return
    for row in rows:
        typer.echo("  ".join(f"{name} {value}" for name, value in row.items() if name not in ("id", "object")))


@budget.command("set")
def set_budget(
    who: Who,
    limit: Annotated[str, typer.Argument(metavar="DOLLARS")],
    period: PeriodWord = "month",
    subject: For = "account",
    soft: Soft = False,
    alert: Annotated[list[int] | None, typer.Option(min=1, max=100, help="Percent told when reached; repeat.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a budget, or change its limit."""
    nanousd, when = _nanousd(limit), _period(period)

    async def work(log: Log, connection: Connection, account: str) -> Budget:
        from app.identity import OPERATOR
        from app.limits.budgets import set_budget
        from app.log import purses
        from handlers.rules.budgets import ALERTS

        made = await set_budget(
            connection,
            account,
            subject,
            when,
            hard=not soft,
            limit_nanousd=nanousd,
            alerts=tuple(sorted(set(alert))) if alert else ALERTS,
            by=OPERATOR,
            forget=partial(purses.forget, log),
        )
        await _tell(account)
        return made

    _show(_over_both(who, work), as_json)


@budget.command("remove")
def remove_budget(
    who: Who, period: PeriodWord = "month", subject: For = "account", soft: Soft = False, as_json: AsJson = False
) -> None:
    """From now on it holds nobody."""
    when = _period(period, balance=True)

    async def work(log: Log, connection: Connection, account: str) -> bool:
        from app.identity import OPERATOR
        from app.limits.budgets import remove_budget

        gone = await remove_budget(connection, account, subject, when, hard=not soft, by=OPERATOR)
        await _tell(account)
        return gone

    gone = _over_both(who, work)
    if as_json:
        typer.echo(json.dumps({"object": "budget", "deleted": gone}))
    else:
        typer.echo("removed" if gone else "there was none")


@budget.command("credit")
def credit(who: Who, amount: Annotated[str, typer.Argument(metavar="DOLLARS")], as_json: AsJson = False) -> None:
    """Give an account money to spend. From the first time on it spends no more than it has been given."""
    nanousd = _nanousd(amount)

    async def work(log: Log, connection: Connection, account: str) -> Budget:
        from app.identity import OPERATOR
        from app.limits.budgets import credit
        from app.log import purses

        made = await credit(connection, account, nanousd, by=OPERATOR, forget=partial(purses.forget, log))
        await _tell(account)
        return made

    _show(_over_both(who, work), as_json)


@limits.command("show")
def show_limits(who: Who, as_json: AsJson = False) -> None:
    """The limits an account has of its own."""

    async def work(log: Log, connection: Connection, account: str) -> dict[str, int | None]:
        from app.limits.own_limits import find_limits

        return dict(await find_limits(connection, account))

    _show_limits(_over_both(who, work), as_json)


@limits.command("set")
def set_limits(
    who: Who,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=NUMBER…", help="Such as requests_a_minute=5000, or =none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give an account these limits of its own, and no others; without any it has its tier's again."""
    wanted = tuple(sorted(_change(each) for each in changes or ()))

    async def work(log: Log, connection: Connection, account: str) -> dict[str, int | None]:
        from app.identity import OPERATOR
        from app.limits.own_limits import set_limits

        await set_limits(connection, account, wanted, by=OPERATOR)
        await _tell(account)
        return dict(wanted)

    _show_limits(_over_both(who, work), as_json)


def _change(text: str) -> tuple[str, int | None]:
    from app.limits.tiers import NO_LIMIT, limit_of

    name, _, most = text.partition("=")
    try:
        return name, limit_of(name, NO_LIMIT if most == NO_LIMIT else int(most) if most.isdecimal() else most)
    except ValueError as nonsense:
        refuse(str(nonsense))


def _over_both(who: str, work: Callable[[Log, Connection, str], Awaitable[Value]]) -> Value:
    """Over log and Postgres, for the account that is meant."""
    from app.accounts import AccountRefused
    from app.database import Unavailable, connected
    from app.limits.budgets import BudgetRefused, NobodyThere
    from app.settings import settings

    async def run(log: Log) -> Value:
        async with connected(settings().database) as connection:
            return await work(log, connection, await _account(connection, who))

    return over_log(run, AccountRefused, BudgetRefused, NobodyThere, Unavailable)


async def _account(connection: Connection, who: str) -> str:
    from app.accounts import AccountRefused, email_address

    try:
        id = UUID(who)
    except ValueError:
        found = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", email_address(who))
    else:
        found = await connection.fetchval(
            "SELECT id::text FROM users WHERE id = $1 UNION SELECT id::text FROM organizations WHERE id = $1", id
        )
    if found is None:
        raise AccountRefused(f"{who} is no user and no team")
    return str(found)


async def _tell(account: str) -> None:
    """Every process forgets what it remembered."""
    from app.changes import Change, ChannelDown, tell
    from app.settings import settings

    try:
        await tell(settings().cache, Change("account", account))
    except ChannelDown:
        typer.echo("helix: the cache server is away: it holds everywhere within a minute", err=True)


def _nanousd(text: str) -> int:
    from handlers.rules.budgets import NANO

    if not _DOLLARS.fullmatch(text):
        refuse(f"{text!r} is no sum of dollars, such as 25.00")
    return int(Decimal(text) * NANO)


def _period(text: str, *, balance: bool = False) -> Period:
    if text not in ("day", "month") and not (balance and text == "ever"):
        refuse("a period is day or month" + (", or ever for a balance" if balance else ""))
    return cast("Period", text)


def _shown(one: Budget, spent: Spent | None) -> dict[str, str | None]:
    """`spent_usd` is null where the log server does not know it: the next request or the sweeper reckons it."""
    from app.http.delivery import usd

    kind: Literal["hard", "soft"] = "hard" if one.hard else "soft"
    return {
        "object": "budget",
        "id": one.id,
        "subject": one.subject,
        "period": one.period,
        "kind": kind,
        "limit_usd": usd(one.limit_nanousd),
        "spent_usd": None if spent is None else usd(spent.in_period(one.period)),
        "reserved_usd": None if spent is None else usd(spent.held),
    }


def _show(one: Budget, as_json: bool) -> None:
    row = _shown(one, None)
    if as_json:
        typer.echo(json.dumps({name: row[name] for name in row if name not in ("spent_usd", "reserved_usd")}))
    else:
        typer.echo(f"{row['kind']} budget of {row['limit_usd']} dollars for {one.subject}, {one.period}")


def _show_limits(found: dict[str, int | None], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"object": "limits", "limits": found}))
        return
    for name, most in found.items():
        typer.echo(f"{name}  {'no limit' if most is None else most}")
    if not found:
        typer.echo("its tier's")
