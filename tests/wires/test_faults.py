"""Whatever a provider does wrong ends in one right outcome, on every road of wire and provider, and leaves no memory
behind."""

from __future__ import annotations

import gc
from pathlib import Path
from resource import getpagesize
from typing import Final

import orjson
import pytest

from events.completions import Wire
from handlers.ports import ProviderFailed, Transcript
from tests.wires.corpus import ANSWER, STREAMED, UNSTREAMED, Case
from tests.wires.pairs import hear, speech_of

ROADS: Final[tuple[tuple[Wire, str], ...]] = (
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("responses", "openai with responses"),
    ("openai", "anthropic"),
    ("anthropic", "openai"),
    ("responses", "openai"),
    ("responses", "anthropic"),
)
"""The first three pass through."""

DEADLINE_S: Final = 0.15
"""Of cases that end in silence; the others have all the time they want."""

GROWTH_BYTES_MAX: Final = 48 * 1024 * 1024
"""Generous: two of the corpus's 20 MB bodies, kept by mistake, are found."""


async def outcome(
    wire: Wire, name: str, case: Case, *, stream: bool
) -> tuple[Transcript, bytes, ProviderFailed | None]:
    """What came of one case: the transcript, what the client was sent, the failure."""
    pieces: list[bytes] = []
    heard = Transcript(pieces.append)
    spoken = speech_of(wire, name)
    deadline_s = DEADLINE_S if case.outcome_of(spoken) == "timeout" else 10.0
    try:
        await hear(wire, name, case.build(spoken), stream=stream, heard=heard, deadline_s=deadline_s)
    except ProviderFailed as failed:
        return heard, b"".join(pieces), failed
    return heard, b"".join(pieces), None


@pytest.mark.parametrize(("wire", "name"), ROADS, ids=[f"{wire} from {name}" for wire, name in ROADS])
@pytest.mark.parametrize("fault", STREAMED)
async def test_a_stream_with_this_fault_ends_as_it_should(wire: Wire, name: str, fault: str) -> None:
    case = STREAMED[fault]
    heard, sent, failed = await outcome(wire, name, case, stream=True)
    kind = case.outcome_of(speech_of(wire, name))
    assert (failed.kind if failed else ANSWER) == kind
    assert b"\\u0000" not in sent and b"\nid:" not in sent and b"retry:" not in sent
    if failed:
        assert heard.answer is None
        assert heard.frames == 0 or case.text_seen
        assert failed.retry_after_s == case.retry_after_s
    else:
        assert heard.answer is not None and b"\\u0000" not in heard.answer
        orjson.loads(heard.answer)
        believed = heard.usage is not None and heard.usage.source == "provider"
        assert believed is not case.uncounted


@pytest.mark.parametrize(("wire", "name"), ROADS, ids=[f"{wire} from {name}" for wire, name in ROADS])
@pytest.mark.parametrize("fault", UNSTREAMED)
async def test_an_answer_with_this_fault_ends_as_it_should(wire: Wire, name: str, fault: str) -> None:
    case = UNSTREAMED[fault]
    heard, _, failed = await outcome(wire, name, case, stream=False)
    assert (failed.kind if failed else ANSWER) == case.outcome_of(speech_of(wire, name))
    assert (heard.answer is None) == (failed is not None)
    if heard.answer is not None:
        assert b"\\u0000" not in heard.answer
        assert (heard.usage is None or heard.usage.source == "estimated") is case.uncounted


def test_there_are_enough_of_them() -> None:
    assert len(STREAMED) + len(UNSTREAMED) >= 60


async def test_memory_stays_flat_over_the_corpus() -> None:
    quick = [case for case in STREAMED.values() if case.outcome != "timeout"]

    async def all_of_them() -> None:
        for wire, name in ROADS[:3]:
            for case in quick:
                await outcome(wire, name, case, stream=True)
        gc.collect()

    await all_of_them()
    before = _resident_bytes()
    for _ in range(2):
        await all_of_them()
    assert _resident_bytes() - before < GROWTH_BYTES_MAX


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
