"""`helix backup`, `restore` and `reseed`: what is done when a machine, or the log, is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.audited import told
from app.cli.over_log import over_log, refuse
from app.settings import settings

if TYPE_CHECKING:
    from app.backup.load import Restored
    from app.backup.save import Saved
    from app.log import Log

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]
Place = Annotated[Path, typer.Argument(help="The directory of the backup.")]

ENCRYPTION_KEY: Final = "API_KEY_ENCRYPTION_KEY"


def backup(directory: Place, as_json: AsJson = False) -> None:
    """Write a backup into an empty directory while everything runs. The keys of API_KEY_ENCRYPTION_KEY are not in it."""
    from app.backup.files import NoBackup
    from app.backup.save import ToolFailed, save
    from app.embedded.binaries import BinaryMissing

    async def run(log: Log) -> Saved:
        await told("backup")
        return await save(settings().database, log, directory)

    saved = over_log(run, NoBackup, BinaryMissing, ToolFailed)
    if as_json:
        facts = {"directory": str(directory), "manifest": saved.manifest.model_dump(mode="json")}
        counts = {"events": saved.events, "commands": saved.commands, "parked": saved.parked}
        typer.echo(json.dumps(facts | counts))
        return
    typer.echo(
        f"{directory}: database, data keys, {saved.events} events not yet read by all,"
        f" {saved.commands} requests under way, {saved.parked} dead letters"
    )
    if saved.manifest.wrapped_by:
        typer.echo(
            "NOT in it: API_KEY_ENCRYPTION_KEY. Without the key named"
            f" {', '.join(saved.manifest.wrapped_by)} no content can ever be read; keep it somewhere else."
        )


def restore(
    directory: Place,
    keys: Annotated[Path | None, typer.Option(help="A file of data keys to use instead of the backup's own.")] = None,
    erased: Annotated[
        Path | None,
        typer.Option(help="Receipts of erasures since then (`helix erasure receipts`), to be carried out again."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A new data directory for `up`; DATABASE_URL and REDIS_URL where left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup back onto an empty database and an empty log, which are then ready to be started."""
    from app.backup.files import NoBackup
    from app.backup.load import NotEmpty, WrongKey, load
    from app.backup.save import ToolFailed
    from app.embedded.binaries import BinaryMissing
    from app.erasure.receipt import NoReceipt
    from app.key_ring import KeyRing, RingRefused

    with _servers(data):

        async def work(log: Log) -> Restored:
            ring = KeyRing.parse(settings().api_key_encryption_key.get_secret_value())
            receipts = erased.read_text() if erased else ""
            done = await load(settings().database, log, ring, directory, keys, receipts)
            await told("restore")  # before it there was no table that could be told
            return done

        restored = over_log(work, NoBackup, NotEmpty, WrongKey, NoReceipt, RingRefused, BinaryMissing, ToolFailed)
    counts = {name: value for name, value in asdict(restored).items() if name != "manifest"}
    if as_json:
        typer.echo(json.dumps({"restored": True, "manifest": restored.manifest.model_dump(mode="json")} | counts))
        return
    typer.echo(
        f"restored what was saved at {restored.manifest.made_at:%Y-%m-%d %H:%M:%S}: database, {restored.data_keys} data"
        f" keys, {restored.events} events to be read, {restored.commands} requests to be carried on"
    )


def reseed(
    lost: Annotated[
        bool, typer.Option("--lost", help="Yes: what the log lacks is lost and will not come back.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """After the log was lost for good: let it go on behind all that has been read from it. Shows what it would do;
    does it with --lost."""
    from app.continuity import compare
    from app.continuity import reseed as go_on
    from app.postgres import engine

    async def look(log: Log) -> tuple[list[dict[str, object]], tuple[int, ...]]:
        async with engine(settings().database) as database, database.connect() as connection:
            compared = await compare(log, connection)
            if lost:
                await told("reseed")
            done = await go_on(log, connection) if lost else compared.back
            return [asdict(one) for one in done], compared.away

    found, away = over_log(look)
    if as_json:
        typer.echo(json.dumps({"reseeded": lost, "partitions": found, "away": away}))
        return
    if away:
        typer.echo(f"partitions {', '.join(map(str, away))} were not looked at: their log server cannot be reached")
    elif not found:
        typer.echo("the log is the one that was read: nothing to do")
    for one in found:
        typer.echo("  ".join(f"{name} {value}" for name, value in one.items()))
    if found and not lost:
        typer.echo("nothing was changed; with --lost the log goes on behind what has been read")


@contextmanager
def _servers(data: Path | None) -> Iterator[None]:
    """The servers that the environment names; else those of a data directory, started for this alone."""
    from app.embedded.postgres import Postgres
    from app.embedded.server import ServerFailed
    from app.embedded.valkey import Valkey
    from app.kept import write_private
    from app.up.directory import Directory, InUse, default_directory

    if data is None and (os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL")):
        yield
        return
    directory = Directory(data or default_directory())
    secret = directory.secret_file(ENCRYPTION_KEY.lower())
    if ENCRYPTION_KEY not in os.environ and not secret.exists():
        refuse(f"{ENCRYPTION_KEY} is needed: the one of the machine that was saved")
    try:
        directory.take()
        log, postgres = Valkey(directory.path / "log", "log"), Postgres(directory.path / "postgres")
        started = []
        try:
            for server in (log, postgres):
                started.append(server)
                server.start()
            os.environ.setdefault(ENCRYPTION_KEY, secret.read_text().strip() if secret.exists() else "")
            os.environ["REDIS_URL"], os.environ["DATABASE_URL"] = log.url, postgres.url
            yield
            # Where `up` finds it: a key of its own making would open nothing.
            write_private(secret, os.environ[ENCRYPTION_KEY] + "\n")
        finally:
            for server in started:
                server.stop()
    except (InUse, ServerFailed) as refused:
        refuse(str(refused))
    finally:
        directory.release()
