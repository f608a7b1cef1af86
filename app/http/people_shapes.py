"""What is sent to `/v1/auth` and `/v1/users/me`, and what they answer. One rule: no secret is in the words of an error."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.http.key_shapes import printable
from app.people.password import CHARACTERS_MAX as PASSWORD_CHARACTERS_MAX
from app.people.secrets import CHARACTERS_MAX as SECRET_CHARACTERS_MAX

EMAIL_CHARACTERS_MAX: Final = 254
NAME_CHARACTERS_MAX: Final = 200

Email = Annotated[str, Field(min_length=3, max_length=EMAIL_CHARACTERS_MAX)]
Password = Annotated[str, Field(min_length=1, max_length=PASSWORD_CHARACTERS_MAX)]
Secret = Annotated[str, Field(min_length=1, max_length=SECRET_CHARACTERS_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX), AfterValidator(printable)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    def __repr__(self) -> str:
        return type(self).__name__  # a password must not stand in a traceback

    __str__ = __repr__


class SignUp(_Body):
    email: Email
    password: Password
    """10 to 256 characters, and none that everybody would guess."""
    accepted_terms: Annotated[str, Field(max_length=32)] | None = None
    """The version of `/terms` that is agreed to, which must be the one of today; it is written down with the account."""


class Token(_Body):
    token: Secret
    """What stands behind `#` in the mailed link."""


class SignIn(_Body):
    email: Email
    password: Password
    cookies: bool = False
    """For pages of this very Helix: the tokens come as cookies that no script reads, and not in the answer."""


class Refresh(_Body):
    refresh_token: Secret | None = None
    """Left out: the cookie's."""


class SignOut(_Body):
    refresh_token: Secret | None = None
    """Left out: the session of the access token or the cookie."""
    everywhere: bool = False
    """Every session of the person, not only this one."""


class Forgot(_Body):
    email: Email


class Reset(_Body):
    token: Secret
    password: Password


class UserChange(_Body):
    """What is left out stays. Address and password take the present password."""

    name: Name | None = None
    """Null: none."""
    email: Email | None = None
    """Holds once the link that is mailed to it was opened."""
    password: Password | None = None
    """The new one; every other session is over."""
    current_password: Password | None = None


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Mailed(_View):
    """The same whether there is such an account or not."""

    object: Literal["mail"] = "mail"
    status: Literal["sent"] = "sent"


class Done(_View):
    object: Literal["result"] = "result"
    status: Literal["verified", "password_changed", "signed_out"]


class SessionTokens(_View):
    object: Literal["session"] = "session"
    id: str
    access_token: str | None
    """For `Authorization: Bearer …`, wherever a key is taken; null with cookies."""
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # OAuth's word for how it is sent
    expires_in: int
    """Seconds that the access token is good for."""
    refresh_token: str | None
    """Good once, for `/v1/auth/refresh`; used twice, it ends the session. Null with cookies."""
    refresh_expires_at: str


class UserView(_View):
    object: Literal["user"] = "user"
    id: str
    email: str
    name: str | None
    tier: str
    has_password: bool
    sign_ins: list[str]
    """Who else may vouch for the person, such as `google`."""
    created_at: str
    pending_email: bool = False
    """A link was mailed to a new address and has not been opened; said once, in answer to the change."""


class SessionView(_View):
    object: Literal["session"] = "session"
    id: str
    current: bool
    """The one that asks."""
    signed_in_with: str
    browser: str | None
    """What the browser or program called itself."""
    created_at: str
    last_used_at: str
    """To a refresh, so to about 15 minutes."""
    expires_at: str


class SessionList(_View):
    object: Literal["list"] = "list"
    data: list[SessionView]


class SignInProvider(_View):
    object: Literal["sign_in_provider"] = "sign_in_provider"
    name: str
    start: str
    """Where a browser goes to begin."""


class SignInProviders(_View):
    object: Literal["list"] = "list"
    data: list[SignInProvider]
    password: bool = True
    """Whether people sign in with a password here; false where no tokens can be signed or no mail sent."""
