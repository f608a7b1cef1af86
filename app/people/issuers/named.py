"""The issuers that the operator has named: a file, and two that everybody knows by their client alone.

One rule: an issuer without its secret stops the process at the start; nobody finds out by a sign-in that fails.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from app import settings as environment
from app.people.issuers.github import GitHub
from app.people.issuers.issuer import Issuer, IssuerAway, Kind, Settings, trusted_url
from app.people.issuers.oidc import OidcIssuer

GOOGLE: Final = "https://accounts.google.com"
GITHUB: Final = "https://github.com"
GITHUB_API: Final = "https://api.github.com"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class IssuersRefused(ValueError):
    """The settings make no sense; says where."""


class _Issuer(BaseModel):
    """A `[[issuer]]` of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind = "oidc"
    issuer: str
    api: str = GITHUB_API
    client_id: str
    client_secret_env: str


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: tuple[_Issuer, ...] = ()


def issuers(chosen: environment.Settings) -> Mapping[str, Issuer]:
    """By name, in order. Raises IssuersRefused."""
    found = [*_known(chosen), *_of_file(chosen)]
    named: dict[str, Issuer] = {}
    for each in found:
        if not _NAME.fullmatch(each.name) or each.name in named or each.name == "password":
            raise IssuersRefused(f"HELIX_SIGN_IN: {each.name[:40]!r} is no name, or names two issuers")
        try:
            trusted_url(each.issuer)
        except IssuerAway:
            raise IssuersRefused(f"HELIX_SIGN_IN: the issuer {each.name} has an address without TLS") from None
        named[each.name] = GitHub(each) if each.kind == "github" else OidcIssuer(each)
    return named


def _known(chosen: environment.Settings) -> list[Settings]:
    found = []
    if chosen.google_client_id and chosen.google_client_secret:
        secret = chosen.google_client_secret.get_secret_value()
        found.append(Settings("google", "oidc", GOOGLE, chosen.google_client_id, secret))
    if chosen.github_client_id and chosen.github_client_secret:
        secret = chosen.github_client_secret.get_secret_value()
        found.append(Settings("github", "github", GITHUB, chosen.github_client_id, secret, GITHUB_API))
    return found


def _of_file(chosen: environment.Settings) -> list[Settings]:
    if chosen.helix_sign_in is None:
        return []
    try:
        file = _File.model_validate(tomllib.loads(chosen.helix_sign_in.read_text()))
    except ValidationError as refused:
        fault = refused.errors(include_input=False, include_url=False)[0]
        raise IssuersRefused(f"HELIX_SIGN_IN: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except (OSError, tomllib.TOMLDecodeError) as unreadable:
        raise IssuersRefused(f"HELIX_SIGN_IN: {unreadable}") from None
    found = []
    for each in file.issuer:
        secret = os.environ.get(each.client_secret_env, "")
        if not secret:
            raise IssuersRefused(f"HELIX_SIGN_IN: {each.name} needs its secret in {each.client_secret_env}")
        found.append(Settings(each.name, each.kind, each.issuer, each.client_id, secret, each.api.rstrip("/")))
    return found
