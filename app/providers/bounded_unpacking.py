"""How much litellm's HTTP client may read and unpack of one answer: without this, half a megabyte that unpacks to a gigabyte is
unpacked whole.

One rule: an answer is bounded where its bytes come in, packed or not, streamed or not; what is beyond is garbled.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

UNPACKED_BYTES_MAX: Final = 32 * 1024 * 1024
"""A stream of 128,000 tokens, at 250 bytes each. Half of what our own roads take: litellm's client holds it several times."""

_WINDOW_BITS: Final = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class Plain:
    """An answer that is not packed."""

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._left_bytes = UNPACKED_BYTES_MAX
        self._error = error

    def decode(self, data: bytes) -> bytes:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise self._error("the answer is too large")
        return data

    def flush(self) -> bytes:
        return b""


class Packed(Plain):
    """An answer in one of the content codings of _WINDOW_BITS."""

    def __init__(self, window_bits: int, error: Callable[[str], Exception]) -> None:
        super().__init__(error)
        self._packed = zlib.decompressobj(window_bits)

    def decode(self, data: bytes) -> bytes:
        try:
            # One byte more than is left tells of more than is left.
            return super().decode(self._packed.decompress(data, self._left_bytes + 1))
        except zlib.error as broken:
            raise self._error(str(broken)) from None


def bound() -> None:
    """From now on, in this process. Other content codings than these are not asked for, nor unpacked."""
    error: Callable[[str], Exception] = import_module("httpx").DecodingError
    client: Any = import_module("httpx._client")
    models: Any = import_module("httpx._models")

    def plain() -> Plain:
        return Plain(error)

    decoders = models.SUPPORTED_DECODERS
    decoders.clear()
    decoders["identity"] = models.IdentityDecoder = plain
    for coding, window_bits in _WINDOW_BITS.items():
        decoders[coding] = lambda window_bits=window_bits: Packed(window_bits, error)
    client.ACCEPT_ENCODING = ", ".join(_WINDOW_BITS)
