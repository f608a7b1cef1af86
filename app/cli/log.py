"""`helix log` and `helix parked`: the event log and the dead letters, read as a person. Content stays sealed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.audited import told
from app.cli.over_log import Away, over_log, refuse
from app.settings import settings

if TYPE_CHECKING:
    from app.log import Log
    from app.log.parked import Letter
    from events.message import Envelope

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]

parked = typer.Typer(no_args_is_help=True, help="Dead letters: what could never succeed, with the reason.")

PAGE: Final = 500
FOLLOW_MS: Final = 1000
RETRY_DEADLINE: Final = timedelta(minutes=10)
MS_DIGITS: Final = 12
"""Of a request's id, in hexadecimal: the milliseconds of its UUIDv7."""
CLOCKS_APART_MS: Final = 60_000
"""The log server's clock, which makes entry ids, may be so far behind the one that makes request ids."""


def log(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type, such as completion.finished.")] = None,
    request: Annotated[str | None, typer.Option(help="Only this request.")] = None,
    last: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many of the newest are shown at first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Read the event log, oldest first. With --follow, --json prints a document a line."""

    def wanted(said: Envelope) -> bool:
        return (type_ is None or said.type == type_) and (request is None or said.subject == request)

    async def show(over: Log) -> None:
        shown, at = await _newest(over, wanted, last, _since(request))
        if as_json and not follow:
            typer.echo(json.dumps([_facts(said) for said in shown], indent=1))
        else:
            for said in shown:
                _print(said, as_json)
        if follow:
            await asyncio.gather(*(_tail(over, partition, after, wanted, as_json) for partition, after in at.items()))

    try:
        over_log(show)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@parked.command("list")
def list_parked(as_json: AsJson = False) -> None:
    """Every dead letter, oldest first."""
    found = over_log(_letters)
    if as_json:
        typer.echo(json.dumps([_letter_facts(letter) for letter in found], indent=1))
    elif not found:
        typer.echo("nothing is parked")
    for letter in [] if as_json else found:
        typer.echo(f"{letter.id}  {letter.parked_at:%Y-%m-%d %H:%M:%S}  {letter.request or '-'}  {letter.why}")


@parked.command("show")
def show_parked(id: str, as_json: AsJson = False) -> None:
    """One dead letter with its envelope; what is sealed stays sealed."""
    letter = over_log(lambda over: _find(over, id))
    text = letter.raw.decode(errors="replace")
    if as_json:
        typer.echo(json.dumps(_letter_facts(letter) | {"envelope": text}, indent=1))
    else:
        typer.echo(f"{letter.id} parked {letter.parked_at:%Y-%m-%d %H:%M:%S}: {letter.why}\n{text}")


@parked.command("retry")
def retry_parked(id: str, as_json: AsJson = False) -> None:
    """Ask again, as a new request: the one that was parked has ended as failed and stays so."""

    async def again(over: Log) -> str:
        from app.database import open_pool
        from app.key_ring import KeyRing
        from app.log.parked import retry
        from app.vault import Vault

        letter = await _find(over, id)
        chosen = settings()
        await told("parked.retry", id)
        async with await open_pool(chosen.database, name="helix parked", connections_max=1) as pool:
            vault = Vault(pool, KeyRing.parse(chosen.api_key_encryption_key.get_secret_value()))
            return await retry(over, letter, vault, datetime.now(UTC) + RETRY_DEADLINE)

    request = over_log(again)
    typer.echo(json.dumps({"id": id, "request": request}) if as_json else f"{id} is asked again as {request}")


@parked.command("drop")
def drop_parked(id: str, as_json: AsJson = False) -> None:
    """Throw one away for good."""

    async def away(over: Log) -> None:
        from app.log.parked import drop

        letter = await _find(over, id)
        await told("parked.drop", id)
        await drop(over, letter)

    over_log(away)
    typer.echo(json.dumps({"id": id, "dropped": True}) if as_json else f"{id} is dropped")


async def _letters(over: Log) -> list[Letter]:
    """Those of every partition that can be reached."""
    from app.log.parked import letters_in

    away, found = Away(over), []
    for partition in range(over.partitions):
        with away.noting(partition):
            found += await letters_in(over, partition)
    away.tell()
    return found


async def _find(over: Log, id: str) -> Letter:
    found = [letter for letter in await _letters(over) if letter.id == id]
    if not found:
        refuse(f"no dead letter {id}; `helix parked list` shows them")
    return found[0]


async def _newest(
    over: Log, wanted: Callable[[Envelope], bool], most: int, since: str
) -> tuple[list[Envelope], dict[int, str]]:
    """The newest wanted messages behind an entry id, oldest first, and where each partition's reading stands. What the
    log has let go of is read from the archive, when the log alone does not hold enough."""
    found: list[Envelope] = []
    at: dict[int, str] = {}
    begins: dict[int, str] = {}
    away = Away(over)
    for partition in range(over.partitions):
        after = since
        with away.noting(partition):
            while page := await over.read_events(partition, after, count=PAGE):
                begins.setdefault(partition, page[0][0])
                after = page[-1][0]
                found = _with(found, page, wanted, most)
            at[partition] = after
    away.tell()
    if len(found) < most:
        async for page in _archived(over, since, at, begins):
            found = _with(found, page, wanted, most)
    return found, at


def _with(
    found: list[Envelope], page: list[tuple[str, bytes]], wanted: Callable[[Envelope], bool], most: int
) -> list[Envelope]:
    found = found + [said for _, raw in page if (said := _readable(raw)) and wanted(said)]
    return sorted(found, key=lambda said: said.at)[-most:]


async def _archived(
    over: Log, since: str, there: Iterable[int], begins: dict[int, str]
) -> AsyncIterator[list[tuple[str, bytes]]]:
    """What the archive holds below the first entries that were found on the log."""
    from sqlalchemy.exc import DBAPIError

    from app.postgres import engine
    from app.readers import extent
    from projections import archive
    from projections.projection import BEGINNING, order

    trimmed = [p for p in there if (await extent(over, p)).trimmed_to != BEGINNING]
    try:
        async with engine(settings().database) as database, database.connect() as connection:
            for partition in trimmed:
                async for entries in archive.entries(connection, partition, since):
                    first = begins.get(partition)
                    yield [entry for entry in entries if first is None or order(entry[0]) < order(first)]
    except (OSError, DBAPIError, archive.Damaged) as failed:
        typer.echo(f"older events lie in the archive, which cannot be read now: {type(failed).__name__}", err=True)


def _since(request: str | None) -> str:
    """The entry id below which nothing can tell of a request: its own id says when it was asked."""
    digits = request.removeprefix("req_")[:MS_DIGITS] if request else ""
    try:
        asked_ms = int(digits, 16) if len(digits) == MS_DIGITS else 0
    except ValueError:
        asked_ms = 0
    return f"{max(asked_ms - CLOCKS_APART_MS, 0)}-0"


async def _tail(over: Log, partition: int, after: str, wanted: Callable[[Envelope], bool], as_json: bool) -> None:
    async with over.blocking("tail", partition) as connection:
        while True:
            for entry, raw in await over.read_events(partition, after, count=PAGE, block_ms=FOLLOW_MS, over=connection):
                after = entry
                said = _readable(raw)
                if said and wanted(said):
                    _print(said, as_json)


def _readable(raw: bytes) -> Envelope | None:
    from events.catalog import Unreadable, read

    try:
        return read(raw)
    except Unreadable as unreadable:
        typer.echo(f"unreadable: {unreadable}", err=True)
        return None


def _facts(said: Envelope) -> dict[str, object]:
    """The message without its sealed content, which is of no use to a reader."""
    facts: dict[str, object] = said.model_dump(mode="json", exclude={"body": {"question", "answer", "conversation"}})
    return facts


def _print(said: Envelope, as_json: bool) -> None:
    from events.completions import CompletionEnded

    if as_json:
        typer.echo(json.dumps(_facts(said)))
    else:
        line = f"{said.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {said.type:<21}  {said.account[:8]}  {said.subject}"
        body = said.body
        if isinstance(body, CompletionEnded):
            line += (
                f"  {body.provider}/{body.model}  {body.input_tokens} in, {body.output_tokens} out"
                f"  ${body.cost_nanousd / 1e9:.6f}  {body.latency_ms} ms  {len(body.attempts)} attempt(s)"
            )
        typer.echo(line)
    sys.stdout.flush()


def _letter_facts(letter: Letter) -> dict[str, object]:
    return {
        "id": letter.id,
        "parked_at": letter.parked_at.isoformat(),
        "request": letter.request,
        "type": letter.type,
        "why": letter.why,
    }
