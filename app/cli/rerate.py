"""`helix rerate`: correct what past requests cost, by entries that stand beside them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.audited import told
from app.cli.over_log import same_count
from app.cli.stretch import From, To, columns, usd, utc
from app.settings import settings

if TYPE_CHECKING:
    from app.rerating import Result, Stretch

EXIT_IMPOSSIBLE: Final = 2


def rerate(
    since: From,
    until: To = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    prices: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Rate by this file in the place of prices.toml."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would come to.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Rate requests anew by today's prices; each that costs something else gets an adjusting entry.

    Nothing is rewritten, and a second run changes nothing. Ends with 2 when it cannot begin.
    """
    from app.rerating import CannotRerate, Stretch

    of = Stretch(utc(since), utc(until) if until else datetime.now(UTC), provider, model)
    same_count()
    try:
        result = asyncio.run(_rerate(of, prices, dry_run))
    except (CannotRerate, ValueError) as refused:  # a ValueError is a file of prices that makes no sense
        typer.echo(f"cannot rerate: {refused}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE) from None
    if as_json:
        typer.echo(json.dumps(_document(of, result, dry_run)))
    else:
        _tell(result, dry_run)


async def _rerate(of: Stretch, file: Path | None, dry_run: bool) -> Result:
    from app import price_book
    from app.database import connected
    from app.log import Log
    from app.postgres import engine
    from app.providers.catalogue import known_prices
    from app.rerating import rerate as run

    chosen = settings()
    if not dry_run:
        await told("rerate", f"{of.since.isoformat()} to {of.until.isoformat()}")
    known = known_prices(chosen, file)
    async with connected(chosen.database) as connection:
        # What this command's own settings do not know, such as the operator's file, the workers have written down.
        prices = await price_book.newest_prices(connection) | known

    async def keep(some: price_book.Prices) -> None:
        async with connected(chosen.database) as connection:
            await price_book.keep(connection, some, hold=False)

    stream = await Log(chosen.log, name="rerate", partitions=chosen.helix_partitions).open()
    try:
        async with engine(chosen.database) as database:
            return await run(stream, database, prices, of, None if dry_run else keep)
    finally:
        await stream.close()


def _document(of: Stretch, result: Result, dry_run: bool) -> dict[str, Any]:
    sums = result.sums.values()
    return {
        "from": of.since.isoformat(),
        "to": of.until.isoformat(),
        "dry_run": dry_run,
        "requests": sum(one.requests for one in sums),
        "adjusted": sum(one.adjusted for one in sums),
        "cost_before_usd": usd(sum(one.before_nanousd for one in sums)),
        "cost_after_usd": usd(sum(one.after_nanousd for one in sums)),
        "models": [
            {
                "provider": one.provider,
                "model": one.model,
                "requests": one.requests,
                "adjusted": one.adjusted,
                "cost_before_usd": usd(one.before_nanousd),
                "cost_after_usd": usd(one.after_nanousd),
            }
            for one in sums
        ],
        "without_a_price": [
            {"provider": provider, "model": model, "requests": requests}
            for (provider, model), requests in result.unpriced.items()
        ],
    }


def _tell(result: Result, dry_run: bool) -> None:
    rows = [("model", "requests", "adjusted", "cost before", "cost after", "difference")]
    for one in sorted(result.sums.values(), key=lambda one: (one.provider, one.model)):
        difference = usd(one.after_nanousd - one.before_nanousd)
        counts = f"{one.requests:,}", f"{one.adjusted:,}"
        rows.append(
            (f"{one.provider}/{one.model}", *counts, usd(one.before_nanousd), usd(one.after_nanousd), difference)
        )
    if len(rows) > 1:
        typer.echo(columns(rows))
    for (provider, model), requests in sorted(result.unpriced.items()):
        typer.echo(f"{provider}/{model}: no price is known; {requests:,} requests stay as they are")
    adjusted = sum(one.adjusted for one in result.sums.values())
    typer.echo(f"{adjusted:,} requests {'would be' if dry_run else 'were'} adjusted, US dollars")
