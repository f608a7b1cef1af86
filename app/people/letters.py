"""What we write to people. One rule: a link carries its token behind `#`, which no server on the way is told."""

from __future__ import annotations

from dataclasses import dataclass

from app.mail import Mail

_UNASKED = "If you did not ask for this, do nothing: nothing changes."


@dataclass(frozen=True, slots=True)
class Letters:
    public_url: str

    def sign_up(self, to: str, token: str) -> Mail:
        return Mail(
            to,
            "Confirm your e-mail address",
            f"Welcome to Helix. To finish signing up, open this link within a day:\n\n"
            f"{self._page('verify', token)}\n\n{_UNASKED}\n",
        )

    def already_here(self, to: str) -> Mail:
        return Mail(
            to,
            "You have an account already",
            f"Somebody, probably you, has tried to sign up to Helix with this address, which has an account already.\n"
            f"If you have forgotten your password, ask for a new one: {self.public_url}/account/forgot\n\n{_UNASKED}\n",
        )

    def reset(self, to: str, token: str) -> Mail:
        return Mail(
            to,
            "A new password",
            f"To choose a new password, open this link within an hour:\n\n{self._page('reset', token)}\n\n{_UNASKED}\n",
        )

    def new_address(self, to: str, token: str) -> Mail:
        return Mail(
            to,
            "Confirm your new e-mail address",
            f"To use this address for your Helix account, open this link within a day:\n\n"
            f"{self._page('verify', token)}\n\n{_UNASKED}\n",
        )

    def address_taken(self, to: str) -> Mail:
        return Mail(
            to,
            "This address has an account already",
            f"Somebody has tried to move another Helix account to this address, which has an account.\n\n{_UNASKED}\n",
        )

    def address_changed(self, to: str) -> Mail:
        return Mail(
            to,
            "Your e-mail address was changed",
            "Your Helix account now uses another e-mail address, and this one is of no use for it any more.\n"
            "If it was not you, write to whoever runs this Helix at once.\n",
        )

    def password_changed(self, to: str) -> Mail:
        return Mail(
            to,
            "Your password was changed",
            f"The password of your Helix account was changed, and every other session was signed out.\n"
            f"If it was not you, choose a new one now: {self.public_url}/account/forgot\n",
        )

    def session_stolen(self, to: str) -> Mail:
        return Mail(
            to,
            "A session of yours was ended",
            f"A token of one of your sessions came a second time, which happens when somebody has copied it. We have ended "
            f"that session; sign in again.\nIf you do not know why, change your password: {self.public_url}/account/forgot\n",
        )

    def sign_in_linked(self, to: str, provider: str) -> Mail:
        return Mail(
            to,
            "A new way to sign in",
            f"From now on you can sign in to your Helix account through {provider}, which has told us that this is your "
            f"address.\nIf it was not you, write to whoever runs this Helix at once.\n",
        )

    def _page(self, page: str, token: str) -> str:
        return f"{self.public_url}/account/{page}#{token}"
