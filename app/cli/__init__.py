"""The words of `./helix`. One rule: a command's module is imported when that command is asked for, and not before.

So `./helix key create` does not wait for a web server to load.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import typer

COMMANDS: Final = {
    "up": "app.cli.up:up",
    "test": "app.cli.check:check",
    "bench": "app.bench.cli:bench",
    "web": "app.cli.processes:web",
    "worker": "app.cli.processes:worker",
    "projector": "app.cli.processes:projector",
    "migrate": "app.cli.processes:migrate",
    "prices": "app.cli.prices:prices",
    "rerate": "app.cli.rerate:rerate",
    "simulate": "app.cli.simulate:simulate",
    "user": "app.cli.erasure:user",
    "key": "app.cli.accounts:key",
    "team": "app.cli.team:team",
    "vault": "app.cli.accounts:vault",
    "mail": "app.cli.mail:mail",
    "erasure": "app.cli.erasure:erasure",
    "replay": "app.cli.replay:replay",
    "audit": "app.cli.audit:audit",
    "budget": "app.cli.budget:budget",
    "limits": "app.cli.budget:limits",
    "log": "app.cli.log:log",
    "parked": "app.cli.log:parked",
    "backup": "app.cli.backup:backup",
    "restore": "app.cli.backup:restore",
    "reseed": "app.cli.backup:reseed",
    "doctor": "app.cli.doctor:doctor",
    "faults": "app.cli.faults:faults",
}
"""Word → `module:name` of a function (a command) or a typer application (commands of its own)."""

BESIDE_UP: Final = frozenset(
    {
        "user",
        "key",
        "team",
        "budget",
        "limits",
        "vault",
        "erasure",
        "replay",
        "audit",
        "log",
        "parked",
        "doctor",
        "migrate",
        "backup",
        "reseed",
        "prices",
        "rerate",
        "simulate",
    }
)
"""Commands that find the servers of a running `up` by themselves when the environment names none."""

JSON: Final = "--json"


def root(words: list[str]) -> typer.Typer:
    """The application with the command that `words` begin with; with all of them where they begin with none."""
    app = typer.Typer(
        name="helix",
        help="Helix: one API in front of every LLM. --json on any command prints one JSON document instead of prose.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # its tracebacks show local variables, keys among them
    )
    app.callback()(lambda: None)  # without one, an application of a single command takes no command word
    asked = words[0] if words and words[0] in COMMANDS else None
    for word in [asked] if asked else COMMANDS:
        module, _, name = COMMANDS[word].partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=word)
        elif word == "test":  # its words are pytest's, options too
            app.command(word, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(found)
        else:
            app.command(word)(found)
    return app


def main() -> None:
    """Run the command that the words of the process ask for."""
    words = sys.argv[1:]
    if words[:1] == [JSON]:  # before the command it means the same as behind it
        words = [*words[1:], JSON]
    if words and words[0] in (*BESIDE_UP, "restore"):
        import structlog

        # Standard output is for what was asked for; facts told on the way go where processes tell theirs.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if words and words[0] in BESIDE_UP:
        from app.up.beside import use_running

        use_running()
    root(words)(words, prog_name="helix")
