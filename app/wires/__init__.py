"""The client's wires: what each format says, as values in and values out, with no network and no clock.

The inner form, into which every question of another wire is put and from which every answer is taken, is OpenAI's chat
completion: its body, its chunks, its whole answer. A provider that speaks the client's own wire is asked in it, and
nothing here touches what it says.
"""

from __future__ import annotations

from typing import Any, Protocol

Json = dict[str, Any]


class Untranslatable(ValueError):
    """The question asks for something that the inner form cannot say. `param` names the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Outward(Protocol):
    """One answer on its way to the client: chunks of the inner form in, SSE events of the client's wire out."""

    events: int
    """How many events it has given out."""

    def chunk(self, chunk: Json) -> bytes:
        """What this chunk is in the client's wire: whole events, none, or several."""
        ...

    def close(self, answer: Json) -> bytes:
        """The events that stand between the last chunk and the closing event; `answer` is the whole answer in the inner
        form."""
        ...


class Wire(Protocol):
    """One client format that is not the inner form."""

    def inward(self, body: Json) -> Json:
        """The question in the inner form. Raises Untranslatable."""
        ...

    def outward(self, request: str, body: Json) -> Outward:
        """The translator of one streamed answer to the question `body`, asked under the id `request`."""
        ...

    def whole(self, answer: Json, request: str, body: Json) -> Json:
        """The whole answer of the inner form in the client's wire."""
        ...
