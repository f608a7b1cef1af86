"""The receipt of an erasure: what was destroyed and when, signed, so that it proves it without naming anybody.

One rule: it is signed over its own bytes as they stand in the text, and holds ids, counts and digests alone.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.key_ring import KeyRing
from events.erasure import Kind

_HEX_32: Final = r"^[0-9a-f]{64}$"
_HEX_64: Final = r"^[0-9a-f]{128}$"


class NoReceipt(Exception):
    """It is none, or not as it was signed; the message says which."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DestroyedKey(_Said):
    number: int
    wrapped_sha256: str = Field(pattern=_HEX_32)
    """Digest of the key as it lay in the table: in an old backup one can see that it was this one."""


class Rows(_Said):
    table: str
    rows: int


class Receipt(_Said):
    object: Literal["erasure.receipt"] = "erasure.receipt"
    version: Literal[1] = 1
    account: str
    kind: Kind
    requested_at: AwareDatetime
    requested_by: str
    erased_at: AwareDatetime
    event_id: str
    """The fact on the log."""
    data_keys: tuple[DestroyedKey, ...]
    deleted: tuple[Rows, ...]
    kept: tuple[Rows, ...]
    """Rows that stay without a person, for the reasons in docs/decisions/0028."""
    backups: str = (
        "Backups made before this day still hold the account until they are thrown away; when one is put back, the"
        " erasure is carried out again."
    )


class Signed(_Said):
    receipt: str
    """The receipt as JSON, byte for byte what was signed."""
    public_key: str = Field(pattern=_HEX_32)
    """Ed25519."""
    signature: str = Field(pattern=_HEX_64)

    def read(self) -> Receipt:
        return Receipt.model_validate_json(self.receipt)

    @property
    def sha256(self) -> str:
        return digest(self.receipt)


def digest(receipt: str) -> str:
    return sha256(receipt.encode()).hexdigest()


def sign(receipt: Receipt, ring: KeyRing) -> Signed:
    text = receipt.model_dump_json()
    public_key, signature = ring.sign(text.encode())
    return Signed(receipt=text, public_key=public_key.hex(), signature=signature.hex())


def verify(text: str | bytes) -> tuple[Signed, Receipt]:
    """The receipt in a document, its signature checked against the public key in it; whether that key is ours is for who
    knows our keys. Raises NoReceipt."""
    try:
        signed = Signed.model_validate_json(text)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key))
        key.verify(bytes.fromhex(signed.signature), signed.receipt.encode())
        return signed, signed.read()
    except (ValidationError, json.JSONDecodeError):
        raise NoReceipt("this is no receipt of an erasure") from None
    except InvalidSignature:
        raise NoReceipt("the signature does not fit: it is not as it was signed") from None
