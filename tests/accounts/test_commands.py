"""The operator's commands, as a person or a script types them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner, Result

from app.api_keys import key_hash, key_prefix, well_formed
from app.cli import accounts
from app.key_ring import KeyRing
from app.settings import settings
from tests.conftest import MakeSettings

Command = Callable[..., Result]
ADDRESS = "alice@example.org"


@pytest.fixture
def helix(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    working = make_settings()
    monkeypatch.setenv("DATABASE_URL", working.database)
    monkeypatch.setenv("REDIS_URL", working.log)
    monkeypatch.setenv("CACHE_URL", working.cache)
    monkeypatch.setenv("API_KEY_ENCRYPTION_KEY", working.api_key_encryption_key.get_secret_value())
    settings.cache_clear()

    def run(word: str, *words: str) -> Result:
        group = {"user": accounts.user, "key": accounts.key, "vault": accounts.vault}[word]
        return CliRunner().invoke(group, words)

    yield run
    settings.cache_clear()


def test_a_plain_key_is_printed_once_and_alone_on_standard_output(helix: Command) -> None:
    assert helix("user", "create", ADDRESS, "--tier", "pro").exit_code == 0

    made = helix("key", "create", ADDRESS, "--name", "laptop")
    key = made.stdout.strip()
    listed = helix("key", "list", ADDRESS).stdout

    assert well_formed(key)
    assert key_prefix(key) in listed and "laptop" in listed and "chat,agents,prompts" in listed
    assert key not in listed and key_hash(key) not in listed


def test_every_command_speaks_json(helix: Command) -> None:
    user = json.loads(helix("user", "create", ADDRESS, "--json").stdout)
    assert (user["email"], user["tier"], user["status"]) == (ADDRESS, "free", "active")
    assert json.loads(helix("user", "list", "--json").stdout) == {"object": "list", "data": [user]}

    words = ("--scope", "chat", "--scope", "prompts", "--expires", "30", "--rate-limit", "60", "--json")
    made = json.loads(helix("key", "create", ADDRESS, *words).stdout)
    assert well_formed(made["key"])
    assert (made["scopes"], made["rate_limit_override"]) == (["chat", "prompts"], 60)
    assert made["expires_at"] > made["created_at"]

    [listed] = json.loads(helix("key", "list", "--json").stdout)["data"]
    assert listed == {name: value for name, value in made.items() if name != "key"}

    revoked = json.loads(helix("key", "revoke", made["id"], "--json").stdout)
    assert revoked["told"] is True and revoked["revoked_at"] is not None

    assert json.loads(helix("vault", "rewrap", "--json").stdout)["rewrapped"] == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("user", "create", "alice"), "'alice' is not an e-mail address"),
        (("user", "create", ADDRESS, "--tier", "gold"), "no such tier: gold; there are free, pro, team, enterprise"),
        (("key", "create", ADDRESS), f"{ADDRESS} is no user"),
        (("key", "revoke", "hx_user_0000"), "there is no such key"),
        (("key", "list", "bob"), "'bob' is not an e-mail address"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_two(helix: Command, words: tuple[str, ...], line: str) -> None:
    refused = helix(*words)

    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", f"helix: {line}\n")


def test_without_postgres_it_is_one_line_too(helix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    settings.cache_clear()

    failed = helix("user", "list")

    assert (failed.exit_code, failed.stderr) == (1, "helix: Postgres does not answer (ConnectionRefusedError)\n")


def test_a_revocation_that_cannot_be_told_says_so_and_holds(helix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    helix("user", "create", ADDRESS)
    key = helix("key", "create", ADDRESS).stdout.strip()
    monkeypatch.setenv("CACHE_URL", "redis://127.0.0.1:1")
    settings.cache_clear()

    revoked = helix("key", "revoke", key)

    assert revoked.exit_code == 0
    assert "the cache does not answer" in revoked.stderr
    assert key not in revoked.output
    assert json.loads(helix("key", "list", "--json").stdout)["data"][0]["revoked_at"] is not None


def test_a_rewrap_names_the_key_that_wraps_from_now_on(helix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    new = secrets.token_hex(32)
    monkeypatch.setenv("API_KEY_ENCRYPTION_KEY", f"{new},{settings().api_key_encryption_key.get_secret_value()}")
    settings.cache_clear()

    said = helix("vault", "rewrap")

    assert said.stdout == f"0 data keys wrapped anew by key {KeyRing.parse(new).current}\n"
    assert new not in said.output


def test_a_key_encryption_key_that_makes_no_sense_is_one_line(helix: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY_ENCRYPTION_KEY", "secret")
    settings.cache_clear()

    refused = helix("vault", "rewrap")

    assert refused.exit_code == 2
    assert refused.stderr == "helix: API_KEY_ENCRYPTION_KEY: key 1 is not 32 bytes in hex or base64\n"


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_a_wrong_address_of_postgres_is_one_line_too(
    helix: Command, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    at = urlsplit(settings().database)
    address = {
        "password": at._replace(netloc=f"{at.username}:wrong@{at.hostname}:{at.port}"),
        "database": at._replace(path="/nothing"),
    }[wrong]
    monkeypatch.setenv("DATABASE_URL", urlunsplit(address))
    settings.cache_clear()

    failed = helix("user", "list")

    assert failed.exit_code == 1
    assert failed.stderr.startswith("helix: Postgres does not answer (Invalid") and failed.stderr.count("\n") == 1


def test_a_rotated_key_passes_on_what_it_may_do_and_can_be_rotated_once(helix: Command) -> None:
    helix("user", "create", ADDRESS)
    bounds = ("--scope", "chat", "--model", "sandbox/echo", "--ip", "10.0.0.0/8", "--json")
    first = json.loads(helix("key", "create", ADDRESS, *bounds).stdout)

    second = json.loads(helix("key", "rotate", first["key"], "--grace", "1", "--json").stdout)
    again = helix("key", "rotate", first["key"])
    listed = json.loads(helix("key", "list", ADDRESS, "--json").stdout)["data"]

    assert well_formed(second["key"]) and second["key"] != first["key"]
    assert (second["models"], second["allowed_ips"], second["scopes"]) == (["sandbox/echo"], ["10.0.0.0/8"], ["chat"])
    assert [each["replaced_by"] for each in listed] == [second["id"], None]
    assert listed[0]["expires_at"] is not None and listed[1]["expires_at"] is None
    assert again.exit_code == 2


def test_what_is_no_network_makes_no_key(helix: Command) -> None:
    helix("user", "create", ADDRESS)

    assert helix("key", "create", ADDRESS, "--ip", "10.0.0.1/8").exit_code == 2
    assert json.loads(helix("key", "list", "--json").stdout)["data"] == []
