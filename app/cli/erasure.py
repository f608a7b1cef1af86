"""`helix user erase`, `user restore`, `helix erasure`: accounts that are to be forgotten, and the proof that they are."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.cli.accounts import AsJson, user
from app.cli.over_database import over_database
from app.cli.over_log import refuse

if TYPE_CHECKING:
    from app.database import Connection
    from app.erasure.receipt import Signed
    from app.erasure.wishes import Wish

__all__ = ["erasure", "user"]

erasure = typer.Typer(no_args_is_help=True, help="Accounts that are erased, or are to be.")


@user.command("erase")
def erase(
    email: str,
    now: Annotated[bool, typer.Option("--now", help="At once, without a grace time: it cannot be taken back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close a person's account and erase it when the grace time is over."""
    from app.accounts import AccountRefused
    from app.erasure import wishes
    from app.identity import OPERATOR
    from app.settings import settings

    chosen = settings()
    grace = timedelta() if now else timedelta(days=chosen.helix_erasure_grace_days)

    async def work(connection: Connection) -> tuple[Wish, Signed | None]:
        account = await _account(connection, email)
        wish = await wishes.ask(connection, account, "person", by=OPERATOR, grace=grace)
        return wish, await _carry_out(connection, account) if now else None

    wish, receipt = over_database(work, AccountRefused, wishes.OwnsTeams)
    _tell(wish.account)
    if receipt is not None:
        typer.echo(receipt.model_dump_json())
        typer.echo("helix: erased; this is the receipt. Log server and cache are cleared within seconds.", err=True)
    elif as_json:
        typer.echo(json.dumps({"account": wish.account, "erase_at": _time(wish.erase_at), "restore_token": wish.word}))
    else:
        typer.echo(
            f"{email} is closed and will be erased at {_time(wish.erase_at)}; until then: helix user restore {email}"
        )


@user.command("restore")
def restore(email: str, as_json: AsJson = False) -> None:
    """Take back the erasure of an account whose time has not come."""
    from app.accounts import AccountRefused
    from app.erasure import wishes
    from app.identity import OPERATOR

    async def work(connection: Connection) -> str:
        try:
            return await wishes.restore(connection, await _account(connection, email), by=OPERATOR)
        except wishes.NothingToRestore:
            refuse(f"{email} is not going to be erased")

    account = over_database(work, AccountRefused)
    _tell(account)
    typer.echo(json.dumps({"account": account, "restored": True}) if as_json else f"{email} is open again")


@erasure.command("list")
def show(as_json: AsJson = False) -> None:
    """Every erasure that waits or is done, newest last."""

    async def work(connection: Connection) -> list[dict[str, str | None]]:
        rows = await connection.fetch(
            "SELECT account, kind, requested_at, requested_by, erase_at, erased_at FROM erasures ORDER BY requested_at"
        )
        return [
            {
                name: _time(value) if isinstance(value, datetime) else None if value is None else str(value)
                for name, value in row.items()
            }
            for row in rows
        ]

    found = over_database(work)
    if as_json:
        typer.echo(json.dumps({"object": "list", "data": found}))
    for row in [] if as_json else found:
        typer.echo("  ".join(f"{name} {value}" for name, value in row.items() if value is not None))


@erasure.command("receipts")
def receipts() -> None:
    """Every receipt, one line each: keep this beside the backups, `helix restore --erased FILE` asks for it."""

    async def work(connection: Connection) -> list[str]:
        rows = await connection.fetch("SELECT receipt FROM erasures WHERE receipt IS NOT NULL ORDER BY erased_at")
        return [row["receipt"] for row in rows]

    for line in over_database(work):
        typer.echo(line)


@erasure.command("verify")
def verify(file: Annotated[Path, typer.Argument(help="A receipt, or lines of them.")], as_json: AsJson = False) -> None:
    """Check a receipt's signature, and that the account is as gone as it says."""
    from app.erasure.proof import examine
    from app.erasure.receipt import NoReceipt
    from app.key_ring import KeyRing, RingRefused
    from app.settings import settings

    try:
        lines = [line for line in file.read_text().splitlines() if line.strip()]
        ring = KeyRing.parse(settings().api_key_encryption_key.get_secret_value())

        async def work(connection: Connection) -> list[dict[str, object]]:
            return [await examine(connection, ring, line) for line in lines]

        found = over_database(work)
    except (NoReceipt, RingRefused) as refused:
        refuse(str(refused))
    except (OSError, UnicodeDecodeError) as unread:
        refuse(f"{file}: {type(unread).__name__}")
    good = bool(found) and all(one["ours"] and not one["left"] for one in found)
    if as_json:
        typer.echo(json.dumps({"good": good, "receipts": found}))
    for one in [] if as_json else found:
        who = "us" if one["ours"] else "somebody else"
        typer.echo(
            f"account {one['account']}, erased {one['erased_at']}: signed by {who}; left: {one['left'] or 'nothing'}"
        )
    if not good:
        raise typer.Exit(1)


@erasure.command("repeat")
def repeat(
    file: Annotated[Path, typer.Argument(help="Receipts, one a line, as `receipts` prints them.")],
    as_json: AsJson = False,
) -> None:
    """Carry out again what these receipts tell: after an older backup was put back."""
    from app.erasure.carrying_out import repeat_all
    from app.erasure.receipt import NoReceipt
    from app.key_ring import KeyRing, RingRefused
    from app.settings import settings

    async def work(connection: Connection) -> dict[str, int]:
        ring = KeyRing.parse(settings().api_key_encryption_key.get_secret_value())
        return await repeat_all(connection, file.read_text(), ring)

    done = over_database(work, NoReceipt, RingRefused)
    for account in done:
        _tell(account)
    if as_json:
        typer.echo(json.dumps({"repeated": len(done), "rows": sum(done.values())}))
    else:
        typer.echo(f"{len(done)} accounts are erased; {sum(done.values())} rows of them had been there")


async def _account(connection: Connection, email: str) -> str:
    from app.accounts import email_address

    found: UUID | None = await connection.fetchval("SELECT id FROM users WHERE email = $1", email_address(email))
    if found is None:
        refuse(f"{email} is no user")
    return str(found)


async def _carry_out(connection: Connection, account: str) -> Signed:
    from app.erasure.carrying_out import erase
    from app.key_ring import KeyRing, RingRefused
    from app.mail import Mails
    from app.mail.choice import has_post
    from app.settings import settings

    try:
        ring = KeyRing.parse(settings().api_key_encryption_key.get_secret_value())
    except RingRefused as refused:
        refuse(str(refused))
    mails = Mails(ring, has_post(settings()))
    receipt = await erase(connection, account, ring, mails if mails.have_post else None)
    if receipt is None:
        refuse("somebody else has erased it just now")
    return receipt


def _tell(account: str) -> None:
    from app.erasure.clearing import tell_all
    from app.settings import settings

    if not asyncio.run(tell_all(settings().cache, account)):
        typer.echo(
            "helix: the cache does not answer: running processes may believe its keys for another minute", err=True
        )


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
