"""What no corpus thinks of: proper answers with something in them replaced at random, the same at every run. Each ends in an
answer or in a failure of a provider, never in an error of ours."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

import orjson
import pytest

from events.completions import Wire
from handlers.ports import ProviderFailed, Transcript
from tests.fakes.provider import DONE, EVENTS, Script
from tests.wires import speech
from tests.wires.pairs import hear, speech_of
from tests.wires.test_faults import ROADS

ANSWERS_EACH: Final = 40

_ODD: Final[tuple[Any, ...]] = (None, 7, -1, 1.5, "x", "", True, [], {}, [7], {"a": 1}, "\x00", 10**30, [None])


def _mutated(value: Any, share: float, dice: Random) -> Any:
    if dice.random() < share:
        return dice.choice(_ODD)
    if isinstance(value, dict):
        return {name: _mutated(item, share, dice) for name, item in value.items() if dice.random() > share / 3}
    if isinstance(value, list):
        return [_mutated(item, share, dice) for item in value]
    return value


def _stream(spoken: str, case: str, dice: Random) -> Script:
    share, pieces = dice.choice((0.003, 0.01, 0.03)), []
    for piece in speech.stream(spoken, case):
        if piece != DONE:
            said = json.loads(piece.partition(b"data: ")[2])
            piece = b"data: " + json.dumps(_mutated(said, share, dice)).encode() + b"\n\n"
        pieces.append(piece)
    if dice.random() < 0.2:
        dice.shuffle(pieces)
    return Script([b"".join(pieces)], content_type=EVENTS)


@pytest.mark.parametrize(("wire", "name"), ROADS, ids=[f"{wire} from {name}" for wire, name in ROADS])
async def test_whatever_comes_ends_in_an_answer_or_a_failure(wire: Wire, name: str) -> None:
    dice, spoken = Random(f"{wire}{name}"), speech_of(wire, name)
    answered = 0
    for number in range(ANSWERS_EACH):
        case, streamed = dice.choice(speech.CASES), number % 3 > 0
        whole = json.dumps(_mutated(speech.whole(spoken, case), 0.02, dice)).encode()
        heard = Transcript(lambda _: None)
        try:
            script = _stream(spoken, case, dice) if streamed else Script([whole])
            await hear(wire, name, script, stream=streamed, heard=heard)
        except ProviderFailed:
            assert heard.answer is None
        else:
            assert heard.answer is not None and b"\\u0000" not in heard.answer
            orjson.loads(heard.answer)
            answered += 1
    assert 0 < answered < ANSWERS_EACH
