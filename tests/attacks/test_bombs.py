"""A little that unpacks to much is not unpacked (A18): neither a client's body nor a provider's answer.

One rule: what is measured is the peak of the process's memory, which an unpacked bomb would raise by all it holds.
"""

from __future__ import annotations

import gzip
import resource
import sys
import zlib
from typing import Final, Literal

import pytest

from tests.fakes.provider import EVENTS, JSON, Script, provider
from tests.http.serving import Routes, exchange, request, serving, shell
from tests.providers.asking import ask, question

UNPACKED_BYTES: Final = 400 * 1024 * 1024
GROWTH_BYTES_MAX: Final = 200 * 1024 * 1024
"""Generous: litellm's client may take 32 MB of an answer, and holds that several times."""

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_")  # litellm's own use of pydantic

Wire = Literal["openai", "anthropic", "litellm"]


def peak_bytes() -> int:
    """The most memory that this process has ever had at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """By content coding: half a megabyte each."""
    zeros = b"0" * 1024 * 1024
    packed: dict[str, bytes] = {}
    for name, window_bits in (("gzip", 31), ("deflate", 15)):
        packer = zlib.compressobj(9, zlib.DEFLATED, window_bits)
        opening = packer.compress(b'{"id": "') + packer.flush(zlib.Z_FULL_FLUSH)
        again = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)  # which may stand there any number of times
        packed[name] = opening + again * (UNPACKED_BYTES // len(zeros))
    return packed


@pytest.mark.parametrize("wire", ["openai", "anthropic", "litellm"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_provider_s_packed_answer_is_not_unpacked(bombs: dict[str, bytes], wire: Wire, stream: bool) -> None:
    upstream = "openai/m" if wire == "litellm" else "m"
    async with provider(Script([b"{}"])) as fake:  # whatever is loaded at the first question is there by then
        await ask(fake.base_url, question(stream), wire=wire, upstream=upstream)
    before = peak_bytes()
    for coding, bomb in bombs.items():
        script = Script([bomb], content_type=EVENTS if stream else JSON, headers={"content-encoding": coding})
        async with provider(script) as fake:
            outcome = await ask(fake.base_url, question(stream), wire=wire, upstream=upstream)
        assert outcome.failed is not None and outcome.heard.answer is None
    assert peak_bytes() - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "gzip, identity", "identity, gzip"])
async def test_a_client_s_packed_body_is_refused_unread(coding: str) -> None:
    routes = Routes()
    async with serving(shell(routes)) as port:
        sent = request("POST", "/echo", gzip.compress(b"{}"), f"Content-Encoding: {coding}")
        assert (await exchange(port, sent)).split()[1] == b"415"
    assert not routes.parsed
