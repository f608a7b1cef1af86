"""What an API key looks like. One rule: the plain key exists at its owner's only; here its SHA-256 and first letters.

A key is `hx_user_`, 32 random bytes in hexadecimal, and six base-62 digits of the CRC-32 of all that, so that junk is
refused, and a leaked key recognised by secret scanners, without a look-up (GitHub's token format, 2021).
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import Final
from zlib import crc32

_PREFIX: Final = "hx_user_"
_RANDOM_BYTES: Final = 32
_CHECKSUM_DIGITS: Final = 6
"""62⁶ is just above 2³²."""
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE: Final = re.compile(f"{_PREFIX}[0-9a-f]{{{2 * _RANDOM_BYTES}}}[0-9A-Za-z]{{{_CHECKSUM_DIGITS}}}")

KEY_CHARACTERS: Final = len(_PREFIX) + 2 * _RANDOM_BYTES + _CHECKSUM_DIGITS
_SHOWN_CHARACTERS: Final = 12
"""`hx_user_` and four digits: enough for an owner to tell his keys apart, 16 bits of 256 for anyone else."""


def new_key() -> str:
    """A key nobody has had before."""
    random = _PREFIX + secrets.token_hex(_RANDOM_BYTES)
    return random + _checksum(random)


def well_formed(key: str) -> bool:
    """Whether this can be a key at all. The same small work for any input, and no look-up."""
    return (
        len(key) == KEY_CHARACTERS
        and _SHAPE.fullmatch(key) is not None
        and key[-_CHECKSUM_DIGITS:] == _checksum(key[:-_CHECKSUM_DIGITS])
    )


def key_hash(key: str) -> str:
    """SHA-256 in hexadecimal: what is stored. A fast hash is enough, for 256 random bits cannot be guessed."""
    return sha256(key.encode()).hexdigest()


def key_prefix(key: str) -> str:
    """What is shown in lists: `hx_user_1234...`."""
    return key[:_SHOWN_CHARACTERS] + "..."


def _checksum(text: str) -> str:
    number = crc32(text.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM_DIGITS):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
