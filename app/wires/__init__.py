"""The client's wires: what each format says, as values in and values out, with no network and no clock.

The inner form, into which every question of another wire is put and from which every answer is taken, is OpenAI's chat
completion: its body, its chunks, its whole answer. A provider that speaks the client's own wire is asked in it, and
nothing here touches what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

Json = dict[str, Any]


class Untranslatable(ValueError):
    """The question asks for something that the inner form cannot say. `param` names the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Unsayable(ValueError):
    """The answer of the inner form says what the client's wire cannot carry."""


class Outward(Protocol):
    """One answer on its way to the client: chunks of the inner form in, SSE events of the client's wire out.

    Nothing comes out before the answer says something, so that a provider that fails at once can still be replaced.
    """

    events: int
    """How many events it has given out."""

    def chunk(self, chunk: Json) -> bytes:
        """What this chunk is in the client's wire: whole events, none, or several. Raises Unsayable."""
        ...

    def close(self, answer: Json) -> bytes:
        """The events that stand between the last chunk and the closing event; `answer` is the whole answer in the inner
        form. Raises Unsayable."""
        ...

    def whole(self) -> Json:
        """The whole answer in the client's wire, with the ids that the events bore. After `close`."""
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """One client format that is not the inner form."""

    inward: Callable[[Json], Json]
    """The question in the inner form. Raises Untranslatable."""
    outward: Callable[[str, Json], Outward]
    """(request id, the client's question) → the translator of one answer."""


def whole_answer(outward: Outward, answer: Json) -> Json:
    """An unstreamed answer of the inner form in the client's wire: told as one chunk, so that both ways agree.

    Raises Unsayable.
    """
    choice = answer["choices"][0]
    delta = dict(choice["message"])
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(calls)]
    outward.chunk({**answer, "choices": [{**choice, "delta": delta}]})
    outward.close(answer)
    return outward.whole()


def sse(kind: str, said: Json) -> bytes:
    """One event as its bytes."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(said) + b"\n\n"


def digits_of(request: str) -> str:
    """`req_…` → what ids of ours bear behind their prefix."""
    return request.partition("_")[2]


def reasoning_of(said: Json) -> str:
    """The reasoning in a delta or message, by either of the names that providers give it."""
    text = said.get("reasoning_content")
    if text is None:
        text = said.get("reasoning")
    return text if isinstance(text, str) else ""


def joined_thoughts(blocks: list[Json]) -> list[Json]:
    """Thinking in pieces → whole blocks, each closed by its signature: the form in which a client sends them back."""
    whole: list[Json] = []
    for block in blocks:
        last = whole[-1] if whole else {}
        if block.get("type") == "thinking" == last.get("type") and "signature" not in last:
            whole[-1] = {**last, **block, "thinking": last.get("thinking", "") + block.get("thinking", "")}
        else:
            whole.append(block)
    return whole
