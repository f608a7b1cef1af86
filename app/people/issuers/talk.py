"""Questions to an issuer. One rule: bounded in time and size, and no redirect is followed: a secret goes where it was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import aiohttp
import orjson
from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]  # authlib has no types
from authlib.oauth2.rfc6749.parameters import (  # type: ignore[import-untyped]  # authlib has no types
    prepare_grant_uri,
    prepare_token_request,
)
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]  # authlib has no types

from app.people.issuers.issuer import Asked, IssuerAway, IssuerRefused, Settings, trusted_url

TOTAL_S_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 256 * 1024
"""The longest honest one is a key set of some ten kilobytes."""

Json = Any
"""What an issuer says is looked at field by field by who asked."""


def grant_url(endpoint: str, settings: Settings, asked: Asked, redirect_uri: str, scope: str, **more: str) -> str:
    """The address of the authorization endpoint with all that it is asked."""
    return cast(
        str,
        prepare_grant_uri(
            endpoint,
            settings.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=scope,
            state=asked.state,
            code_challenge=create_s256_code_challenge(asked.verifier),
            code_challenge_method="S256",
            **more,
        ),
    )


async def token_for(
    endpoint: str, settings: Settings, asked: Asked, redirect_uri: str, code: str, auth_method: str
) -> Mapping[str, Json]:
    """What the token endpoint gives for the code. Raises IssuerRefused, IssuerAway."""
    body = prepare_token_request(
        "authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=asked.verifier
    )
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    url, headers, body = ClientAuth(settings.client_id, settings.client_secret, auth_method).prepare(
        "POST", trusted_url(endpoint), headers, body
    )
    told: Mapping[str, Json] = await _ask("POST", url, headers, body)
    if "error" in told or not isinstance(told.get("access_token"), str):
        raise IssuerRefused("no token for the code")
    return told


async def ask(url: str, access_token: str | None = None) -> Json:
    """A JSON document. Raises IssuerRefused, IssuerAway."""
    headers = {"accept": "application/json"}
    if access_token is not None:
        headers["authorization"] = f"Bearer {access_token}"
    return await _ask("GET", trusted_url(url), headers, None)


async def _ask(method: str, url: str, headers: Mapping[str, str], body: str | None) -> Json:
    timeout = aiohttp.ClientTimeout(total=TOTAL_S_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, data=body, allow_redirects=False) as answer,
        ):
            said = bytearray()
            async for piece in answer.content.iter_any():
                said += piece
                if len(said) > ANSWER_BYTES_MAX:
                    raise IssuerAway("too long an answer")
            if answer.status in (400, 401, 403):
                raise IssuerRefused(f"answered {answer.status}")
            if answer.status != 200:
                raise IssuerAway(f"answered {answer.status}")
        return orjson.loads(said)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failed:
        raise IssuerAway(type(failed).__name__) from None
