"""`helix prices`: the price list, as bills name it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.settings import settings

if TYPE_CHECKING:
    from app.price_book import Entry

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]

prices = typer.Typer(no_args_is_help=True, help="The price list: every price there ever was, by its version.")


@prices.command("list")
def list_(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    former: Annotated[bool, typer.Option("--former", help="Former prices too, oldest first.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest price of each model, in US dollars for a million tokens."""
    found = asyncio.run(_entries(provider, model, former))
    if as_json:
        typer.echo(json.dumps({"prices": [_document(one) for one in found]}))
        return
    for one in found:
        rates = f"{_usd(one.input_usd_per_million)} in, {_usd(one.output_usd_per_million)} out"
        typer.echo(f"{one.version}  {one.provider}/{one.model}: {rates}  {one.as_of}, since {one.valid_from:%Y-%m-%d}")
    if not found:
        typer.echo("There is no price. A worker, or `./helix migrate`, writes the list.")


@prices.command()
def show(version: str, as_json: AsJson = False) -> None:
    """Everything that one price charges, and where it was read."""
    one = asyncio.run(_entry(version))
    if one is None:
        typer.echo(f"there is no price {version}", err=True)
        raise typer.Exit(1)
    document = _document(one)
    if as_json:
        typer.echo(json.dumps(document))
        return
    for name, value in document.items():
        typer.echo(f"{name}: {json.dumps(value, indent=2) if isinstance(value, dict) else value}")


async def _entries(provider: str | None, model: str | None, former: bool) -> list[Entry]:
    from app.database import connected
    from app.price_book import entries

    async with connected(settings().database) as connection:
        return await entries(connection, provider=provider, model=model, former=former)


async def _entry(version: str) -> Entry | None:
    from app.database import connected
    from app.price_book import entry

    async with connected(settings().database) as connection:
        return await entry(connection, version)


def _document(one: Entry) -> dict[str, Any]:
    """Money as text: a float would not hold it."""
    shown = {name: value if isinstance(value, str) else str(value) for name, value in asdict(one).items()}
    shown |= {name: _usd(value) for name, value in asdict(one).items() if name.endswith("_usd_per_million")}
    return shown | {
        "valid_from": one.valid_from.isoformat(),
        "seen_at": one.seen_at.isoformat() if one.seen_at else None,
        "content_nanousd_per_million": json.loads(shown.pop("content")),
    }


def _usd(value: Any) -> str:
    """Without the zeros that the table adds."""
    return f"{value.normalize():f}"
