"""The keys that wrap the data keys: API_KEY_ENCRYPTION_KEY. One rule: the first wraps, every one of them unwraps.

To rotate: put the new key before the old one, restart, `./helix vault rewrap`, then take the old one out.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.database import Connection

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_NAME_DIGITS: Final = 16
_REWRAP_ROWS: Final = 500
"""One short transaction each; a rewrap that is broken off has lost at most this much work."""


class RingRefused(Exception):
    """The ring makes no sense, or does not hold the key that is needed. Says which, never the key itself."""


class KeyRing:
    """`current` is the name of the key that wraps: the first digits of its SHA-256, kept beside what it wrapped."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Name → 32 bytes, in order."""
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._signing_seeds = {
            name: hmac.digest(key, b"helix: receipts", "sha256") for name, key in keys.items()
        }  # no key has two uses
        self.current = next(iter(keys))

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Keys of 32 bytes in hexadecimal or base64, separated by commas. Raises RingRefused."""
        if not text.strip():
            raise RingRefused("API_KEY_ENCRYPTION_KEY: Field required")
        keys: dict[str, bytes] = {}
        for place, part in enumerate((part.strip() for part in text.split(",")), start=1):
            key = _decode(part)
            if key is None:
                raise RingRefused(f"API_KEY_ENCRYPTION_KEY: key {place} is not {_KEY_BYTES} bytes in hex or base64")
            keys.setdefault(sha256(key).hexdigest()[:_NAME_DIGITS], key)
        return cls(keys)

    def holds(self, name: str) -> bool:
        """Whether what was wrapped by the key of this name can be unwrapped."""
        return name in self._ciphers

    def wrap(self, account: str, number: int, data_key: bytes) -> bytes:
        """→ nonce and ciphertext, bound to the account and number so that rows cannot be exchanged."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, data_key, _bind(account, number))

    def unwrap(self, account: str, number: int, wrapped: bytes, wrapped_by: str) -> bytes:
        """Raises RingRefused when the key that wrapped it is not in the ring, or the row has been changed."""
        cipher = self._ciphers.get(wrapped_by)
        if cipher is None:
            raise RingRefused(f"a data key is wrapped by key {wrapped_by}, which API_KEY_ENCRYPTION_KEY does not hold")
        try:
            return cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _bind(account, number))
        except InvalidTag:
            raise RingRefused(f"data key {number} of account {account} is damaged") from None

    def seal(self, purpose: str, content: bytes) -> bytes:
        """What lies with us for hours and belongs to no account → nonce and ciphertext under `current`, bound to its purpose."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[self.current].encrypt(nonce, content, f"content: {purpose}".encode())

    def open(self, purpose: str, sealed: bytes, sealed_by: str) -> bytes:
        """Raises RingRefused when the key that sealed it is not in the ring, or it has been changed."""
        cipher = self._ciphers.get(sealed_by)
        if cipher is None:
            raise RingRefused(f"{purpose} is sealed by key {sealed_by}, which API_KEY_ENCRYPTION_KEY does not hold")
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], f"content: {purpose}".encode())
        except InvalidTag:
            raise RingRefused(f"{purpose} is damaged") from None

    def sign(self, content: bytes) -> tuple[bytes, bytes]:
        """→ Ed25519 public key of 32 bytes, and the signature of 64."""
        key = Ed25519PrivateKey.from_private_bytes(self._signing_seeds[self.current])
        return key.public_key().public_bytes_raw(), key.sign(content)

    @property
    def public_keys(self) -> frozenset[bytes]:
        """What is signed by this ring can be checked with one of these."""
        seeds = self._signing_seeds.values()
        return frozenset(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() for seed in seeds)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._ciphers)})"


async def rewrap(connection: Connection, ring: KeyRing) -> int:
    """Wrap every data key anew under the ring's first key. Returns how many were.

    Can be broken off and begun again at any time, and run while Helix serves: a data key stays the same, and a row
    that was changed or destroyed meanwhile is left as it is.
    """
    done = 0
    after, after_number = UUID(int=0), 0
    while True:
        async with connection.transaction():
            rows = await connection.fetch(
                """SELECT account, number, wrapped, wrapped_by FROM data_keys
                WHERE wrapped IS NOT NULL AND wrapped_by <> $1 AND (account, number) > ($2, $3)
                ORDER BY account, number LIMIT $4""",
                ring.current,
                after,
                after_number,
                _REWRAP_ROWS,
            )
            for row in rows:
                account, number = str(row["account"]), row["number"]
                data_key = ring.unwrap(account, number, row["wrapped"], row["wrapped_by"])
                changed = await connection.execute(
                    """UPDATE data_keys SET wrapped = $3, wrapped_by = $4
                    WHERE account = $1 AND number = $2 AND wrapped = $5""",
                    row["account"],
                    number,
                    ring.wrap(account, number, data_key),
                    ring.current,
                    row["wrapped"],
                )
                done += changed == "UPDATE 1"
        if not rows:
            break
        after, after_number = rows[-1]["account"], rows[-1]["number"]
    return done


def _bind(account: str, number: int) -> bytes:
    return f"data key {number} of {account}".encode()


def _decode(text: str) -> bytes | None:
    """32 bytes, or None."""
    try:
        key = bytes.fromhex(text) if len(text) == 2 * _KEY_BYTES else base64.b64decode(_standard(text), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == _KEY_BYTES else None


def _standard(text: str) -> str:
    """URL-safe or plain base64, padded or not → plain and padded."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return bare + "=" * (-len(bare) % 4)
