"""`helix mail`: the mails that an `up` without a mail server has kept. One rule: it reads files and asks no server."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.mail.mailbox import KeptMail

mail = typer.Typer(no_args_is_help=True, help="Mails that were kept instead of sent.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]


@mail.command("list")
def list_mails(as_json: AsJson = False) -> None:
    """The kept mails, newest first."""
    found = [{name: value for name, value in asdict(each).items() if name != "text"} for each in _kept()]
    if as_json:
        typer.echo(json.dumps(found))
    elif not found:
        typer.echo("no mails are kept here", err=True)
    for each in [] if as_json else found:
        typer.echo(f"{each['number']:>4}  {each['at']}  {each['to']}  {each['subject']}")


@mail.command("show")
def show_mail(
    number: Annotated[int, typer.Argument(min=1, help="As the list has it; 1 is the newest.")] = 1,
    as_json: AsJson = False,
) -> None:
    """One mail with its words."""
    kept = _kept()
    if number > len(kept):
        typer.echo(f"there is no mail {number}; {len(kept)} are kept", err=True)
        raise typer.Exit(2)
    one = kept[number - 1]
    if as_json:
        typer.echo(json.dumps(asdict(one)))
    else:
        typer.echo(f"To: {one.to}\nSubject: {one.subject}\nDate: {one.at}\n\n{one.text}")


def _kept() -> list[KeptMail]:
    from app.mail.mailbox import kept_mails
    from app.up.directory import MAILS, default_directory

    return kept_mails(default_directory() / MAILS)
