"""The rows of people in the table of operations: signing up, in and out, and oneself."""

from __future__ import annotations

from typing import Final

from app.http.operation import Answer, Operation, Parameter, refusals
from app.http.people_shapes import (
    Done,
    Forgot,
    Mailed,
    Refresh,
    Reset,
    SessionList,
    SessionTokens,
    SignIn,
    SignInProviders,
    SignOut,
    SignUp,
    Token,
    UserChange,
    UserView,
)

_GROUP: Final = "People"
_NAME: Final = Parameter("name", "path", "The provider, as `/v1/auth/providers` names it.")
_UNCONFIGURED: Final = {501: Answer("This Helix was not set up for it (`MAIL_FROM`, `JWT_SECRET_KEY`, …).")}

PEOPLE: Final = (
    Operation(
        "POST",
        "/v1/auth/sign-up",
        _GROUP,
        "Sign up",
        "Mails a link to the address; the account is made when it is opened. The answer is the same for an address that has "
        "an account.",
        {202: Answer("A mail is on its way.", Mailed)} | refusals(400, 409, 429, 503) | _UNCONFIGURED,
        body=SignUp,
        example='{"email": "anna@example.org", "password": "eleven blue herons"}',
        action=None,
    ),
    Operation(
        "POST",
        "/v1/auth/verify",
        _GROUP,
        "Open a mailed link",
        "The link of a sign-up, which makes the account, or of a new e-mail address, which holds from now on.",
        {200: Answer("The address is its owner's.", Done)} | refusals(400, 409, 429, 503),
        body=Token,
        example='{"token": "hx_link_…"}',
        action=None,
    ),
    Operation(
        "POST",
        "/v1/auth/sign-in",
        _GROUP,
        "Sign in",
        "A session: an access token, which is taken wherever a key is, for 15 minutes, and a refresh token for the next one.",
        {200: Answer("The tokens.", SessionTokens)} | refusals(400, 401, 403, 429, 503) | _UNCONFIGURED,
        body=SignIn,
        example='{"email": "anna@example.org", "password": "eleven blue herons"}',
        action=None,
    ),
    Operation(
        "POST",
        "/v1/auth/refresh",
        _GROUP,
        "Stay signed in",
        "A new pair of tokens. A refresh token is good once; one that comes again ends its session, for one of the two who "
        "hold it has stolen it.",
        {200: Answer("The tokens.", SessionTokens)} | refusals(400, 401, 403, 503) | _UNCONFIGURED,
        body=Refresh,
        example='{"refresh_token": "hx_refresh_…"}',
        action=None,
    ),
    Operation(
        "POST",
        "/v1/auth/sign-out",
        _GROUP,
        "Sign out",
        "This session is over, or all of them: by the access token, the refresh token or the cookie.",
        {200: Answer("Over everywhere within seconds.", Done)} | refusals(400, 401, 403, 503),
        body=SignOut,
        example='{"everywhere": true}',
        action=None,
    ),
    Operation(
        "POST",
        "/v1/auth/forgot",
        _GROUP,
        "Forget one's password",
        "Mails a link to a new one. The answer is the same for an address that has no account.",
        {202: Answer("If there is an account, a mail is on its way.", Mailed)}
        | refusals(400, 429, 503)
        | _UNCONFIGURED,
        body=Forgot,
        example='{"email": "anna@example.org"}',
        action=None,
    ),
    Operation(
        "POST",
        "/v1/auth/reset",
        _GROUP,
        "Choose a new password",
        "For who opened the mailed link. Every session is over.",
        {200: Answer("The new password holds.", Done)} | refusals(400, 429, 503),
        body=Reset,
        example='{"token": "hx_link_…", "password": "twelve red herons"}',
        action=None,
    ),
    Operation(
        "GET",
        "/v1/auth/providers",
        _GROUP,
        "Who vouches for people",
        "By whom people may sign in here, beside an e-mail address and a password.",
        {200: Answer("The providers.", SignInProviders)},
        action=None,
    ),
    Operation(
        "GET",
        "/v1/auth/oidc/{name}/start",
        _GROUP,
        "Sign in through somebody else",
        "For browsers: sends it to the provider, and from there back.",
        {303: Answer("To the provider.", media="text/plain")} | refusals(400, 404, 429, 503) | _UNCONFIGURED,
        (_NAME, Parameter("next", "query", "Where the browser goes afterwards: a path of this host.")),
        action=None,
    ),
    Operation(
        "GET",
        "/v1/auth/oidc/{name}/callback",
        _GROUP,
        "Come back from the provider",
        "For browsers: a session in cookies, for who brings the provider's word and the cookie he left with.",
        {303: Answer("Signed in.", media="text/plain")} | refusals(400, 401, 403, 404, 429, 503) | _UNCONFIGURED,
        (
            _NAME,
            Parameter("code", "query", "The provider's word, good once."),
            Parameter("state", "query", "What the browser was sent away with."),
        ),
        action=None,
    ),
    Operation(
        "GET",
        "/v1/users/me",
        _GROUP,
        "Oneself",
        "The person who has signed in, or whose key it is.",
        {200: Answer("The person.", UserView)} | refusals(401, 403, 404, 503),
        action="self.read",
    ),
    Operation(
        "PATCH",
        "/v1/users/me",
        _GROUP,
        "Change oneself",
        "What is left out stays. Address and password take a session and the present password; a new address holds once the "
        "link that is mailed to it was opened.",
        {200: Answer("The person.", UserView)} | refusals(400, 401, 403, 404, 409, 429, 503) | _UNCONFIGURED,
        body=UserChange,
        example='{"name": "Anna"}',
        action="self.write",
    ),
    Operation(
        "GET",
        "/v1/users/me/sessions",
        _GROUP,
        "List one's sessions",
        "Those that are open, the one used last first.",
        {200: Answer("The sessions.", SessionList)} | refusals(401, 403, 404, 503),
        action="self.read",
    ),
    Operation(
        "DELETE",
        "/v1/users/me/sessions/{id}",
        _GROUP,
        "End a session",
        "It opens nothing any more, everywhere within seconds.",
        {200: Answer("It is over.", Done)} | refusals(401, 403, 404, 503),
        (Parameter("id", "path", "The id of the session, as the list shows it."),),
        action="self.write",
    ),
)
