"""Seals content under its account's data key before it touches the log, Postgres or the archive.

One rule: what is sealed opens only in its own place (account, kind, id) and only as long as the account's key lives, so
destroying that key erases the content everywhere at once. The data keys lie in `data_keys`, themselves wrapped
(`app.key_ring`).

A sealed text is: version (1 byte), number of the data key (4 bytes, big endian), nonce (12 bytes), ciphertext and tag
of AES-256-GCM. Nonces are random: one data key is good for 2³² sealings (NIST SP 800-38D §8.3); `renew` gives the next.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.bounded_cache import BoundedCache
from app.database import Connection, Pool, Unavailable, borrowed
from app.key_ring import KeyRing, RingRefused
from app.single_flight import SingleFlight

log = structlog.get_logger()

_VERSION: Final = 1
_HEADER_BYTES: Final = 5
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_SEALED_BYTES_MIN: Final = _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES

BOX_KEEP_S: Final = 300.0
"""How long a process works with the keys it has read. A destroyed key is forgotten at latest after this, where the
word of it did not arrive."""

_BOXES_MAX: Final = 20_000
"""About a kilobyte each: 20 MB, and more accounts than one process serves in five minutes."""

_READ_KEYS: Final = """
SELECT number, wrapped, wrapped_by, created_at <= now() - make_interval(secs => $2) AS settled
FROM data_keys WHERE account = $1 ORDER BY number
"""
_FIRST_KEY: Final = """
INSERT INTO data_keys (account, number, wrapped, wrapped_by) VALUES ($1, 1, $2, $3)
ON CONFLICT (account, number) DO NOTHING
"""


class VaultRefused(Exception):
    """What is sealed cannot be opened, or nothing can be sealed."""


class Erased(VaultRefused):
    """The account's data key is destroyed: the content is gone for ever."""


class Tampered(VaultRefused):
    """The seal does not fit its place, or the bytes are not what was sealed."""


class Box:
    """One account's keys, ready for use without waiting: about two microseconds to seal or open a kilobyte."""

    __slots__ = ("_current", "_destroyed", "_digest_key", "_header", "_keys", "_place", "account")

    def __init__(self, account: str, keys: Mapping[int, bytes], *, current: int, destroyed: frozenset[int]) -> None:
        """`keys`: number → data key of 32 bytes; `current` is the number that seals."""
        self.account = account
        self._keys = {number: AESGCM(key) for number, key in keys.items()}
        self._current = self._keys[current]
        self._digest_key = hmac.digest(keys[current], b"helix: digests", "sha256")  # no key has two uses
        self._destroyed = destroyed
        self._header = bytes((_VERSION,)) + current.to_bytes(4, "big")
        self._place = f"{len(account)}:{account}"

    def seal(self, kind: str, id: str, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return self._header + nonce + self._current.encrypt(nonce, content, self._bind(self._header, kind, id))

    def open(self, kind: str, id: str, sealed: bytes) -> bytes:
        """Raises Erased when its data key is destroyed, Tampered when the seal does not fit its place."""
        header = sealed[:_HEADER_BYTES]
        if len(sealed) < _SEALED_BYTES_MIN or header[0] != _VERSION:
            raise Tampered("not a sealed text of this version")
        number = int.from_bytes(header[1:], "big")
        key = self._keys.get(number)
        if key is None:
            if number in self._destroyed:
                raise Erased(f"data key {number} of the account is destroyed")
            raise Tampered(f"the account has no data key {number}")
        nonce = sealed[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
        try:
            return key.decrypt(nonce, sealed[_HEADER_BYTES + _NONCE_BYTES :], self._bind(header, kind, id))
        except InvalidTag:
            raise Tampered("the seal does not fit its place") from None

    def digest(self, content: bytes) -> str:
        """The same for the same content while the account has the same data key: 64 hexadecimal digits that nobody can
        make or guess without it, and that are worth nothing once it is destroyed."""
        return hmac.digest(self._digest_key, content, "sha256").hex()

    def _bind(self, header: bytes, kind: str, id: str) -> bytes:
        """The associated data: each part with its length before it, so that no two places read the same."""
        return header + f"{self._place}{len(kind)}:{kind}{len(id)}:{id}".encode()

    def __repr__(self) -> str:
        return f"Box({self.account!r})"


class Vault:
    """Gives each account its box. Answers `handlers.ports.Vault`.

    Raises `app.database.Unavailable` where keys must be read and cannot be now: Postgres does not answer, or the key that
    wraps them is not in the ring until the operator puts it back. Nothing is lost by either.
    """

    def __init__(self, pool: Pool, ring: KeyRing, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._ring = ring
        self._boxes: BoundedCache[str, Box] = BoundedCache(_BOXES_MAX, clock=clock)
        self._reading: SingleFlight[str, Box] = SingleFlight()
        self._forgotten = 0

    def cached(self, account: str) -> Box | None:
        """The account's box when this process has it at hand."""
        return self._boxes.get(account)

    async def box(self, account: str) -> Box:
        """The account's box; its first data key is made when it has none. Raises Erased."""
        return self._boxes.get(account) or await self._reading.fetch(account, self._read)

    async def seal(self, account: str, kind: str, id: str, content: bytes) -> bytes:
        return (await self.box(account)).seal(kind, id, content)

    async def open(self, account: str, kind: str, id: str, sealed: bytes) -> bytes:
        return (await self.box(account)).open(kind, id, sealed)

    def forget(self, account: str) -> None:
        """The account's keys have changed: read them again before the next use."""
        self._forgotten += 1
        self._reading.forsake_all()
        self._boxes.drop(account)

    def forget_all(self) -> None:
        self._forgotten += 1
        self._reading.forsake_all()
        self._boxes.clear()

    async def _read(self, account: str) -> Box:
        before = self._forgotten
        owner = UUID(account)
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(_READ_KEYS, owner, BOX_KEEP_S)
            if not rows:
                wrapped = self._ring.wrap(account, 1, AESGCM.generate_key(256))
                await connection.execute(_FIRST_KEY, owner, wrapped, self._ring.current)
                rows = await connection.fetch(_READ_KEYS, owner, BOX_KEEP_S)
        try:
            keys = {
                row["number"]: self._ring.unwrap(account, row["number"], row["wrapped"], row["wrapped_by"])
                for row in rows
                if row["wrapped"] is not None
            }
        except RingRefused as refused:
            log.error("data_key_not_unwrapped", account=account, reason=str(refused))
            raise Unavailable(str(refused)) from refused
        if not keys:
            raise Erased("the account's data keys are destroyed")
        # A new key seals only after every process has surely read it: no box that is still in use may lack it.
        settled = [row["number"] for row in rows if row["number"] in keys and row["settled"]]
        destroyed = frozenset(row["number"] for row in rows if row["wrapped"] is None)
        box = Box(account, keys, current=max(settled, default=min(keys)), destroyed=destroyed)
        if before == self._forgotten:  # otherwise what was read may be older than the change that was told
            self._boxes.put(account, box, keep_s=BOX_KEEP_S)
        return box

    async def renew(self, account: str) -> int:
        """Give the account its next data key; the older ones still open. Returns the new number, in use by all
        processes after BOX_KEEP_S. Raises Erased."""
        async with borrowed(self._pool) as connection, connection.transaction():
            await _lock(connection, account)
            rows = await connection.fetch("SELECT number, wrapped FROM data_keys WHERE account = $1", UUID(account))
            if rows and all(row["wrapped"] is None for row in rows):
                raise Erased("the account's data keys are destroyed")
            number = max((int(row["number"]) for row in rows), default=0) + 1
            await connection.execute(
                "INSERT INTO data_keys (account, number, wrapped, wrapped_by) VALUES ($1, $2, $3, $4)",
                UUID(account),
                number,
                self._ring.wrap(account, number, AESGCM.generate_key(256)),
                self._ring.current,
            )
        self.forget(account)
        log.info("data_key_renewed", account=account, number=number)
        return number

    async def destroy(self, account: str) -> None:
        """Destroy every data key of the account: what it sealed is unreadable from now on, copies and archives too.

        An account that never had a key gets a destroyed one, so that nobody seals for it afterwards. Doing it twice
        changes nothing. Other processes hear of it through `app.changes`, or forget after BOX_KEEP_S.
        """
        async with borrowed(self._pool) as connection, connection.transaction():
            await destroy_keys(connection, account, self._ring.current)
        self.forget(account)
        log.info("data_keys_destroyed", account=account)


async def _lock(connection: Connection, account: str) -> None:
    """One change of an account's keys at a time: a key made while the others are destroyed would escape."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('data_keys ' || $1, 0))", account)


async def destroy_keys(connection: Connection, account: str, wrapped_by: str) -> list[tuple[int, bytes]]:
    """`Vault.destroy` within the caller's transaction → numbers and wrapped forms of the keys that it destroys."""
    await _lock(connection, account)
    await connection.execute(
        """INSERT INTO data_keys (account, number, wrapped, wrapped_by, destroyed_at)
        VALUES ($1, 1, NULL, $2, now()) ON CONFLICT (account, number) DO NOTHING""",
        UUID(account),
        wrapped_by,
    )
    rows = await connection.fetch(
        "SELECT number, wrapped FROM data_keys WHERE account = $1 AND wrapped IS NOT NULL ORDER BY number",
        UUID(account),
    )
    await connection.execute(
        "UPDATE data_keys SET wrapped = NULL, destroyed_at = now() WHERE account = $1 AND wrapped IS NOT NULL",
        UUID(account),
    )
    return [(row["number"], row["wrapped"]) for row in rows]
