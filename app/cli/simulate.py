"""`helix simulate`: what past requests would have cost elsewhere. Nobody is asked, and nothing is changed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.stretch import From, To, columns, usd, utc
from app.settings import settings

if TYPE_CHECKING:
    from handlers.rules.simulation import Line

EXIT_IMPOSSIBLE: Final = 2


class Wish(StrEnum):
    """As the router knows them."""

    cost = "cost"
    speed = "speed"
    quality = "quality"


def simulate(
    since: From,
    until: To = None,
    model: Annotated[str | None, typer.Option(help="Everything on this model: `model` or `provider/model`.")] = None,
    optimize: Annotated[Wish | None, typer.Option(help="Each request where the router would send it.")] = None,
    account: Annotated[str | None, typer.Option(help="Only the requests of this user, by e-mail address.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """What the requests of a stretch of time would have cost on another model, or by another wish.

    Answers from the response cache are left out: they cost nothing either way. Ends with 2 when it makes no sense.
    """
    from app.simulating import CannotSimulate, Question
    from app.simulating import simulate as run
    from handlers.rules.simulation import UNKNOWN

    asked = Question(
        utc(since), utc(until) if until else datetime.now(UTC), model, optimize.value if optimize else None, account
    )
    try:
        lines = asyncio.run(run(settings(), asked))
    except (CannotSimulate, ValueError) as refused:  # a ValueError is a file of prices that makes no sense
        typer.echo(f"cannot simulate: {refused}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE) from None
    if as_json:
        typer.echo(json.dumps(_document(asked.since, asked.until, lines) | {"unknown": list(UNKNOWN)}))
        return
    _tell(lines)
    typer.echo("\nWhat these sums do not know:")
    for one in UNKNOWN:
        typer.echo(f"  {one}")


def _document(since: datetime, until: datetime, lines: list[Line]) -> dict[str, Any]:
    return {
        "from": since.isoformat(),
        "to": until.isoformat(),
        "requests": sum(line.requests for line in lines),
        "cost_usd": usd(sum(line.cost_nanousd for line in lines)),
        "cost_then_usd": usd(sum(line.then_nanousd for line in lines)),
        "models": [
            {
                "provider": line.provider,
                "model": line.model,
                "requests": line.requests,
                "cost_usd": usd(line.cost_nanousd),
                "cost_then_usd": usd(line.then_nanousd),
                "chosen": line.chosen,
                "left_out": line.left_out,
            }
            for line in lines
        ],
    }


def _tell(lines: list[Line]) -> None:
    rows = [("model", "requests", "cost", "cost there", "difference", "there")]
    for line in lines:
        there = ", ".join(f"{id} {count:,}" for id, count in sorted(line.chosen.items(), key=lambda one: -one[1]))
        rows.append(_row(f"{line.provider}/{line.model}", line.requests, line.cost_nanousd, line.then_nanousd, there))
    requests, cost = sum(line.requests for line in lines), sum(line.cost_nanousd for line in lines)
    rows.append(_row("together", requests, cost, sum(line.then_nanousd for line in lines), ""))
    typer.echo(columns(rows))
    for line in lines:
        for why, count in line.left_out.items():
            typer.echo(f"left out: {count:,} of {line.provider}/{line.model}: {why}")


def _row(model: str, requests: int, cost: int, then: int, there: str) -> tuple[str, str, str, str, str, str]:
    return model, f"{requests:,}", usd(cost), usd(then), usd(then - cost), there
