"""`helix user`, `helix key`, `helix vault`: the operator's door to accounts. One rule: a plain key is printed once, here."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeVar

import typer

from app.cli.over_database import over_database

if TYPE_CHECKING:
    from app.accounts import ApiKey, User
    from app.changes import Kind
    from app.database import Connection

user = typer.Typer(no_args_is_help=True, help="Users.")
key = typer.Typer(no_args_is_help=True, help="API keys.")
vault = typer.Typer(no_args_is_help=True, help="The keys that seal content.")
vault.callback()(lambda: None)  # without one, an application of a single command takes no command word

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]

_DAYS_MAX: Final = 36_500
"""A hundred years; a key meant to last longer has no end."""

_TIERS: Final = ("free", "pro", "team", "enterprise")

Value = TypeVar("Value")
Cell = str | int | bool | None | Sequence[str]


@user.command("create")
def create_user(
    email: str,
    tier: Annotated[str, typer.Option(help="free, pro, team or enterprise.")] = "free",
    as_json: AsJson = False,
) -> None:
    """Make a user."""
    from app import accounts

    match tier:
        case "free" | "pro" | "team" | "enterprise":
            made = _with_database(lambda connection: accounts.create_user(connection, email, tier))
        case _:
            _refuse(f"no such tier: {tier}; there are {', '.join(_TIERS)}")
    if as_json:
        _print_json(_user_fields(made))
    else:
        typer.echo(f"{made.email} is a user of tier {made.tier}, id {made.id}")


@user.command("list")
def list_users(as_json: AsJson = False) -> None:
    """All users, newest last."""
    from app import accounts

    found = _with_database(accounts.list_users)
    _print_list([_user_fields(each) for each in found], as_json, ("email", "tier", "status", "created_at", "id"))


@user.command("suspend")
def suspend_user(email: str, as_json: AsJson = False) -> None:
    """Shut a user out: keys and sessions open nothing, everywhere within a second, until `resume`."""
    from app.people import suspension

    _say_status(_with_database(lambda connection: suspension.suspend(connection, email)), email, "suspended", as_json)


@user.command("resume")
def resume_user(email: str, as_json: AsJson = False) -> None:
    """Let a suspended user in again."""
    from app.people import suspension

    _say_status(_with_database(lambda connection: suspension.resume(connection, email)), email, "active", as_json)


@key.command("create")
def create_key(
    email: str,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do; repeat for several. Left out: chat, agents and prompts. `keys`: manage keys."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="To tell it from others.")] = None,
    expires: Annotated[int | None, typer.Option(min=1, max=_DAYS_MAX, help="Days until it ends.")] = None,
    rate_limit: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Requests a minute, instead of the tier's.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="The only models it may ask for; repeat for several.")] = None,
    ip: Annotated[
        list[str] | None, typer.Option(help="The only addresses or networks it works from; repeat for several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for a user and print it, this once."""
    from app import accounts
    from app.api_keys import new_key
    from app.http.client_address import network

    try:
        networks = [network(each) for each in ip or ()]
    except ValueError as nonsense:
        _refuse(str(nonsense))
    plain_key = new_key()
    made = _with_database(
        lambda connection: accounts.create_key(
            connection,
            email,
            plain_key,
            name=name,
            scopes=scope or None,
            expires_at=None if expires is None else datetime.now(UTC) + timedelta(days=expires),
            rate_limit_override=rate_limit,
            models=model,
            allowed_ips=networks,
        )
    )
    if as_json:
        _print_json({**_key_fields(made), "key": plain_key})
    else:
        typer.echo(plain_key)
        typer.echo(f"Shown this once: keep it. It belongs to {made.email}, its id is {made.id}.", err=True)


@key.command("revoke")
def revoke_key(
    which: Annotated[str, typer.Argument(metavar="PREFIX_OR_ID", help="Its id, its prefix, or the key itself.")],
    as_json: AsJson = False,
) -> None:
    """Close a key for ever, everywhere within a second."""
    from app import accounts

    revoked = _with_database(lambda connection: accounts.revoke_key(connection, which))
    told = _tell_of(revoked.key_hash)
    if as_json:
        _print_json({**_key_fields(revoked.key), "told": told})
        return
    typer.echo(f"{revoked.key.prefix} of {revoked.key.email or revoked.key.team} is revoked, id {revoked.key.id}")
    _warn_untold(told)


@key.command("rotate")
def rotate_key(
    which: Annotated[str, typer.Argument(metavar="PREFIX_OR_ID", help="Its id, its prefix, or the key itself.")],
    grace: Annotated[int, typer.Option(min=0, max=720, help="Hours that the old key goes on.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Print a new key with the same rights, this once; the old one ends after the grace time."""
    from app import accounts
    from app.api_keys import new_key

    plain_key = new_key()
    made, old = _with_database(
        lambda connection: accounts.rotate_key(connection, which, plain_key, timedelta(hours=grace))
    )
    told = _tell_of(old)
    if as_json:
        _print_json({**_key_fields(made), "key": plain_key, "told": told})
        return
    typer.echo(plain_key)
    typer.echo(f"Shown this once: keep it. Its id is {made.id}; the old key goes on for {grace} h.", err=True)
    _warn_untold(told)


@key.command("list")
def list_keys(email: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """All keys or one user's, newest last; the keys themselves are not kept."""
    from app import accounts

    found = _with_database(lambda connection: accounts.list_keys(connection, email))
    shown = (
        "prefix",
        "email",
        "team",
        "name",
        "scopes",
        "models",
        "allowed_ips",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
        "id",
    )
    _print_list([_key_fields(each) for each in found], as_json, shown)


@vault.command("rewrap")
def rewrap_vault(as_json: AsJson = False) -> None:
    """Wrap every data key anew under the first key of API_KEY_ENCRYPTION_KEY; then the others may be taken out."""
    from app.audit.operator import tell
    from app.key_ring import KeyRing, RingRefused, rewrap
    from app.settings import settings

    try:
        ring = KeyRing.parse(settings().api_key_encryption_key.get_secret_value())

        async def work(connection: Connection) -> int:
            await tell(connection, "vault.rewrap")
            return await rewrap(connection, ring)

        count = _with_database(work)
    except RingRefused as refused:
        _refuse(str(refused))
    if as_json:
        _print_json({"rewrapped": count, "wrapped_by": ring.current})
    else:
        typer.echo(f"{count} data keys wrapped anew by key {ring.current}")


def _say_status(id: str, email: str, status: str, as_json: bool) -> None:
    told = _tell_of(id, "account")
    if as_json:
        _print_json({"id": id, "email": email, "status": status, "told": told})
        return
    typer.echo(f"{email} is {status}")
    _warn_untold(told)


def _tell_of(id: str, kind: Kind = "key") -> bool:
    """Have every process forget the key (by its hash) or the account → whether they could be told."""
    from app.changes import Change, ChannelDown, tell
    from app.settings import settings

    try:
        asyncio.run(tell(settings().cache, Change(kind, id)))
    except ChannelDown:
        return False
    return True


def _warn_untold(told: bool) -> None:
    if not told:
        typer.echo("helix: the cache does not answer: running processes may take the key for another minute", err=True)


def _with_database(work: Callable[[Connection], Awaitable[Value]]) -> Value:
    """Run the work on a connection of its own; what it refuses, and an outage, is one line and an exit code."""
    from app.accounts import AccountRefused

    return over_database(work, AccountRefused)


def _refuse(message: str, *, code: int = 2) -> NoReturn:
    typer.echo(f"helix: {message}", err=True)
    raise typer.Exit(code)


def _user_fields(found: User) -> dict[str, Cell]:
    return {**dataclasses.asdict(found), "created_at": _time(found.created_at)}


def _key_fields(found: ApiKey) -> dict[str, Cell]:
    times = ("created_at", "last_used_at", "expires_at", "revoked_at")
    return {**dataclasses.asdict(found), **{name: _time(getattr(found, name)) for name in times}}


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds")


def _print_json(document: dict[str, Cell]) -> None:
    typer.echo(json.dumps(document))


def _print_list(rows: Sequence[dict[str, Cell]], as_json: bool, columns: Sequence[str]) -> None:
    if as_json:
        typer.echo(json.dumps({"object": "list", "data": rows}))
        return
    lines = [tuple(columns), *(tuple(_cell(row[column]) for column in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Cell) -> str:
    match value:
        case None:
            return "-"
        case str() | int():
            return str(value)
        case _:
            return ",".join(value)
