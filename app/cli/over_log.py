"""Commands that look into the log: opened, asked, closed; what goes wrong outside is one line, not a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from app.settings import settings

if TYPE_CHECKING:
    from app.log import Log

Value = TypeVar("Value")


def over_log(work: Callable[[Log], Awaitable[Value]], *refusals: type[Exception]) -> Value:
    """Do it over an open log. `refusals`: what the work raises when it must not be done; their words are for a person.

    Exits with 2 on a refusal, and with 1 when log or Postgres fail.
    """
    from asyncpg import PostgresError
    from sqlalchemy.exc import DBAPIError

    from app.log import Log
    from app.log.connection import LogRefused
    from app.log.count import OtherCount, check

    chosen = settings()

    async def run() -> Value:
        await check(chosen.log, chosen.helix_partitions)
        over = await Log(chosen.log, name="helix-cli", partitions=chosen.helix_partitions).open()
        try:
            return await work(over)
        finally:
            await over.close()

    try:
        return asyncio.run(run())
    except OtherCount as refused:
        refuse(str(refused))
    except refusals as refused:
        refuse(str(refused))
    except (LogRefused, PostgresError, DBAPIError, OSError) as failed:
        refuse(f"{type(failed).__name__}: {(str(failed).splitlines() or [''])[0][:300]}", code=1)


def same_count() -> None:
    """For commands that open the log by themselves: exits with 2 when it was made with another number of partitions than
    this command would read, and with 1 when it cannot be asked."""

    async def nothing(over: Log) -> None:
        """The count is compared before."""

    over_log(nothing)


class Away:
    """Partitions that could not be looked at while the others could: of a cluster one node may be down."""

    def __init__(self, over: Log) -> None:
        self._over = over
        self._partitions: list[int] = []

    @contextmanager
    def noting(self, partition: int) -> Iterator[None]:
        """Goes on when the partition's server is away. Raises LogGone when that was the last of all."""
        from app.log import LogGone

        try:
            yield
        except LogGone:
            self._partitions.append(partition)
            if len(self._partitions) == self._over.partitions:
                raise

    def tell(self) -> None:
        """On standard error, what is missing from the answer."""
        if self._partitions:
            names = ", ".join(str(partition) for partition in self._partitions)
            typer.echo(f"helix: without partitions {names}: their log server cannot be reached", err=True)


def refuse(message: str, *, code: int = 2) -> NoReturn:
    """One line on standard error, and the end."""
    typer.echo(f"helix: {message}", err=True)
    raise typer.Exit(code)
