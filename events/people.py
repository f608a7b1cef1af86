"""Facts about people: signed in and out, and what they changed of themselves. No address, name, password or token is in them."""

from __future__ import annotations

from typing import ClassVar, Literal

from events.message import Change

WhyEnded = Literal["signed_out", "signed_out_everywhere", "password_changed", "refresh_reused"]


class SessionStarted(Change):
    """The person has signed in."""

    type: ClassVar[str] = "session.started"

    session: str
    how: str
    """`password`, or the name of who vouched for the person, such as `google`."""


class SessionEnded(Change):
    """From now on these sessions open nothing; every process forgets them."""

    type: ClassVar[str] = "session.ended"

    sessions: tuple[str, ...]
    why: WhyEnded


class PasswordChanged(Change):
    """The person has a new password; all sessions but the one that did it are over."""

    type: ClassVar[str] = "password.changed"

    how: Literal["changed", "reset"]


class EmailChanged(Change):
    """The person reads mail at another address, and has shown it."""

    type: ClassVar[str] = "email.changed"


class ProfileChanged(Change):
    type: ClassVar[str] = "profile.changed"

    fields: tuple[Literal["name"], ...]


class SignInLinked(Change):
    """From now on the person can sign in through this issuer."""

    type: ClassVar[str] = "sign_in.linked"

    provider: str


class UserSuspended(Change):
    """The operator has shut the person out: keys and sessions open nothing until he is let in again."""

    type: ClassVar[str] = "user.suspended"


class UserResumed(Change):
    """The person is let in again; what keys and sessions there were open what they did."""

    type: ClassVar[str] = "user.resumed"
