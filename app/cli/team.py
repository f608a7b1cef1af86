"""`helix team`: the operator's door to teams. One rule: what only the operator may do, such as a tier, is done here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, TypeVar, cast, get_args

import typer

from app.cli.over_database import over_database
from app.cli.over_log import refuse

if TYPE_CHECKING:
    from app.database import Connection
    from app.teams.members import Member
    from app.teams.teams import Team
    from events.completions import Tier
    from events.teams import Role

team = typer.Typer(no_args_is_help=True, help="Teams.")
member = typer.Typer(no_args_is_help=True, help="Members of a team.")
team.add_typer(member, name="member")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]
TeamId = Annotated[str, typer.Argument(metavar="TEAM", help="The team's id.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="A user's address.")]
TierWord = Annotated[str, typer.Option(help="free, pro, team or enterprise.")]

Value = TypeVar("Value")


@team.command("create")
def create(
    name: str,
    owner: Annotated[str, typer.Option(help="The address of a user.")],
    tier: TierWord = "free",
    as_json: AsJson = False,
) -> None:
    """Make a team that a user owns."""
    from app.identity import OPERATOR
    from app.teams import teams

    chosen = _tier(tier)
    if not name.isprintable() or not 1 <= len(name) <= 255:
        refuse("a team's name is 1 to 255 printable characters")

    async def work(connection: Connection) -> Team:
        return await teams.create(connection, await _person(connection, owner), name, by=OPERATOR, tier=chosen)

    _show_team(_done(work), as_json)


@team.command("list")
def list_teams(as_json: AsJson = False) -> None:
    """All teams, newest last."""
    from app.teams import teams

    found = [_team_fields(each) for each in _done(teams.everyone)]
    _print_list(found, as_json)


@team.command("tier")
def set_tier(which: TeamId, tier: str, as_json: AsJson = False) -> None:
    """Give a team another tier; every process hears of it."""
    from app.teams import teams

    chosen = _tier(tier)
    changed = _done(lambda connection: teams.set_tier(connection, _id(which), chosen))
    _tell(changed.id)
    _show_team(changed, as_json)


@member.command("list")
def list_members(which: TeamId, as_json: AsJson = False) -> None:
    """Who belongs to the team, and as what."""
    from app.teams import members

    found = _done(lambda connection: members.of_team(connection, _id(which)))
    _print_list([_member_fields(each) for each in found], as_json)


@member.command("add")
def add_member(
    which: TeamId, email: Email, role: Annotated[str, typer.Option()] = "developer", as_json: AsJson = False
) -> None:
    """Let a user in, without an invitation."""
    from app.identity import OPERATOR
    from app.teams import members, teams

    given = _given(role)

    async def work(connection: Connection) -> Member:
        async with connection.transaction():
            found = await teams.find(connection, _id(which))
            return await members.add(connection, found.id, await _person(connection, email), given, by=OPERATOR)

    _show_member(which, _done(work), as_json)


@member.command("role")
def change_role(which: TeamId, email: Email, role: str, as_json: AsJson = False) -> None:
    """Give a member another role; `owner` transfers the team to him."""
    from app.teams import members

    async def work(connection: Connection) -> Member:
        person = await _person(connection, email)
        if role == "owner":
            return await members.transfer_by_operator(connection, _id(which), person)
        return await members.change_role_by_operator(connection, _id(which), person, _given(role))

    _show_member(which, _done(work), as_json)


@member.command("remove")
def remove_member(which: TeamId, email: Email, as_json: AsJson = False) -> None:
    """His keys for the team end with it."""
    from app.teams import members

    async def work(connection: Connection) -> Member:
        return await members.remove_by_operator(connection, _id(which), await _person(connection, email))

    _show_member(which, _done(work), as_json)


def _done(work: Callable[[Connection], Awaitable[Value]]) -> Value:
    from app.accounts import AccountRefused
    from app.teams.members import MemberUnknown
    from app.teams.standing import RoleLacking
    from app.teams.teams import TeamRefused, TeamUnknown

    async def worded(connection: Connection) -> Value:
        try:
            return await work(connection)
        except TeamUnknown:
            raise AccountRefused("there is no such team") from None
        except MemberUnknown:
            raise AccountRefused("the team has no such member") from None
        except RoleLacking:
            raise AccountRefused("the owner's role is changed by giving another member the role owner") from None
        except TeamRefused as refused:
            raise AccountRefused(str(refused)) from None

    return over_database(worded, AccountRefused)


async def _person(connection: Connection, email: str) -> str:
    from app.accounts import AccountRefused, email_address

    id = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", email_address(email))
    if id is None:
        raise AccountRefused(f"{email} is no user")
    return cast(str, id)


def _id(text: str) -> str:
    from uuid import UUID

    try:
        return str(UUID(text))
    except ValueError:
        refuse(f"{text} is no id of a team")


def _tier(text: str) -> Tier:
    from events.completions import Tier

    if text not in get_args(Tier):
        refuse(f"no such tier: {text}; there are {', '.join(get_args(Tier))}")
    return cast("Tier", text)


def _given(text: str) -> Role:
    from events.teams import Role

    if text not in get_args(Role) or text == "owner":
        refuse(f"no such role to give: {text}; there are {', '.join(get_args(Role)[1:])}")
    return cast("Role", text)


def _tell(account: str) -> None:
    """Every process forgets what it remembered of the team."""
    from app.changes import Change, ChannelDown, tell
    from app.settings import settings

    try:
        asyncio.run(tell(settings().cache, Change("account", account)))
    except ChannelDown:
        typer.echo(
            "helix: the cache does not answer: running processes may take another minute to hear of it", err=True
        )


def _show_team(found: Team, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_team_fields(found)))
    else:
        typer.echo(f"{found.name} is a team of tier {found.tier}, id {found.id}")


def _show_member(which: str, found: Member, as_json: bool) -> None:
    _tell(_id(which))
    if as_json:
        typer.echo(json.dumps(_member_fields(found)))
    else:
        typer.echo(f"{found.email}: {found.role}")


def _team_fields(found: Team) -> dict[str, str]:
    at = found.created_at.astimezone(UTC).isoformat(timespec="seconds")
    return {"name": found.name, "tier": found.tier, "status": found.status, "created_at": at, "id": found.id}


def _member_fields(found: Member) -> dict[str, str]:
    at = found.joined_at.astimezone(UTC).isoformat(timespec="seconds")
    return {"email": found.email, "role": found.role, "joined_at": at, "person": found.person}


def _print_list(rows: Sequence[dict[str, str]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"object": "list", "data": rows}))
        return
    for row in rows:
        typer.echo("  ".join(row.values()))
