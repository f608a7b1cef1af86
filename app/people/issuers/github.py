"""GitHub, which speaks OAuth 2 without OpenID Connect: who came is asked of its own interface. One rule: the number is the name.

A login can be given up and taken by somebody else; the id of an account cannot.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.people.issuers.issuer import Asked, IssuerRefused, Settings, Vouched
from app.people.issuers.talk import ask, grant_url, token_for

SCOPE = "user:email"


class GitHub:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        return self._settings.name

    async def way_there(self, asked: Asked, redirect_uri: str) -> str:
        endpoint = f"{self._settings.issuer}/login/oauth/authorize"
        return grant_url(endpoint, self._settings, asked, redirect_uri, SCOPE)

    async def who_came(self, asked: Asked, redirect_uri: str, query: Mapping[str, str]) -> Vouched:
        endpoint = f"{self._settings.issuer}/login/oauth/access_token"
        code = query.get("code", "")
        given = await token_for(endpoint, self._settings, asked, redirect_uri, code, "client_secret_post")
        user = await ask(f"{self._settings.api}/user", given["access_token"])
        addresses = await ask(f"{self._settings.api}/user/emails", given["access_token"])
        if not isinstance(user, dict) or type(user.get("id")) is not int or not isinstance(addresses, list):
            raise IssuerRefused("an answer without an account")
        own = [each for each in addresses if isinstance(each, dict) and isinstance(each.get("email"), str)]
        tried = [each["email"] for each in own if each.get("primary") is True and each.get("verified") is True]
        return Vouched(self._settings.issuer, str(user["id"]), tried[0] if tried else None)
