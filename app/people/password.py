"""Passwords: which are taken, and how they are kept.

One rule: a password is hashed with argon2id in a thread, never more than a few at once, and whoever guesses pays as much for
an address that has no account as for one that has.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.people.common_passwords import common

CHARACTERS_MIN: Final = 10
"""With a list of common ones and a throttle on guesses; length is what counts (NIST SP 800-63B)."""
CHARACTERS_MAX: Final = 256
"""Any sentence; hashing costs by the byte."""
_DISTINCT_MIN: Final = 5

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
"""OWASP's first choice for argon2id: 19 MiB, two passes, one lane. About 25 ms of a core here: a guess with stolen hashes costs
whoever tries as much memory as it costs us, and one web process can check forty a second."""

AT_ONCE: Final = 2
"""40 MiB and two cores at most, however many sign in; the others wait."""
WAITING_MAX: Final = 100
"""Five seconds' worth: who comes behind them is told to come again."""


class PasswordRefused(Exception):
    """This password is not taken; the message says why, for who chose it."""


class Busy(Exception):
    """Too many are being checked just now."""


def check_choice(password: str, email: str) -> None:
    """Raises PasswordRefused for one that is too short or long, that everybody guesses, or that is the address itself."""
    if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX:
        raise PasswordRefused(f"A password has {CHARACTERS_MIN} to {CHARACTERS_MAX} characters.")
    word, local = password.casefold(), email.partition("@")[0].casefold()
    if common(password) or len(set(word)) < _DISTINCT_MIN:
        raise PasswordRefused("This password is one of the first that anybody would guess.")
    if word == email.casefold() or (len(local) > 3 and word.strip("0123456789!?.-_") == local):
        raise PasswordRefused("A password is something else than the e-mail address.")


class Passwords:
    """Hashing for one process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys = self._hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """→ what is kept of it. Raises Busy."""
        return await self._in_turn(password, None)

    async def fits(self, password: str, kept: str | None) -> bool:
        """Whether this is the password that `kept` was made from; None, for nobody's, takes as long. Raises Busy."""
        return bool(await self._in_turn(password, self._nobodys if kept is None else kept)) and kept is not None

    def outdated(self, kept: str) -> bool:
        """Made with other costs than today's."""
        return self._hasher.check_needs_rehash(kept)

    async def _in_turn(self, password: str, kept: str | None) -> str:
        """The hash, or where one is compared with: itself when it fits and nothing when it does not."""
        if self._waiting >= WAITING_MAX:
            raise Busy
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(self._work, password, kept)
        finally:
            self._waiting -= 1

    def _work(self, password: str, kept: str | None) -> str:
        if kept is None:
            return self._hasher.hash(password)
        try:
            self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return ""
        return kept
