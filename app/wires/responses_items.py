"""The items of a response while they are being told, and as they stand in the whole.

One rule: an item knows its own events and not their numbers. What it is told piece by piece goes out by a head that
stands before each piece, a tenth of the cost of dumping the whole event.
"""

from __future__ import annotations

from typing import Literal

import orjson

from app.wires import Json, joined_thoughts
from app.wires.responses_thoughts import thoughts_out
from app.wires.responses_tools import CUSTOM_ARGUMENT

Status = Literal["completed", "incomplete"]


def delta_head(kind: str, fields: Json) -> bytes:
    """A delta event up to its piece: the piece as JSON, its number and a bracket follow."""
    said = orjson.dumps({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + said[:-1] + b',"delta":'


class Item:
    """What all items share."""

    __slots__ = ("head", "index", "pieces", "whole")

    def __init__(self, index: int, whole: Json) -> None:
        self.index = index
        self.whole = whole
        self.head = b""
        """Before each delta; empty where nothing is told in pieces."""
        self.pieces: list[str] = []

    @property
    def place(self) -> Json:
        return {"item_id": self.whole["id"], "output_index": self.index}

    def begin(self) -> list[Json]:
        return [{"type": "response.output_item.added", "output_index": self.index, "item": dict(self.whole)}]

    def end(self, status: Status) -> list[Json]:
        return [{"type": "response.output_item.done", "output_index": self.index, "item": dict(self.whole)}]

    def said(self) -> str:
        return "".join(self.pieces)


class Reasoning(Item):
    """What the model thought, as a summary: the form that clients show."""

    __slots__ = ("blocks",)

    def __init__(self, index: int, digits: str) -> None:
        super().__init__(index, {"id": f"rs_{digits}{index:02x}", "type": "reasoning", "summary": []})
        self.blocks: list[Json] = []
        """Thinking of Anthropic's with its signatures, in pieces."""

    def open_part(self) -> list[Json]:
        """The events that must stand before its first piece."""
        if self.head:
            return []
        place = self.place | {"summary_index": 0}
        self.head = delta_head("response.reasoning_summary_text.delta", place)
        part = {"type": "summary_text", "text": ""}
        return [{"type": "response.reasoning_summary_part.added", **place, "part": part}]

    def end(self, status: Status) -> list[Json]:
        events: list[Json] = []
        if self.head:
            place, text = self.place | {"summary_index": 0}, self.said()
            part = {"type": "summary_text", "text": text}
            self.whole["summary"] = [part]
            events = [
                {"type": "response.reasoning_summary_text.done", **place, "text": text},
                {"type": "response.reasoning_summary_part.done", **place, "part": part},
            ]
        if self.blocks:
            self.whole["encrypted_content"] = thoughts_out(joined_thoughts(self.blocks))
        return events + super().end(status)


class Message(Item):
    """What the model said: text, or why it will not say any."""

    __slots__ = ("_kind",)

    def __init__(self, index: int, digits: str) -> None:
        whole = {"id": f"msg_{digits}{index:02x}", "type": "message", "status": "in_progress", "role": "assistant"}
        super().__init__(index, whole | {"content": []})
        self._kind = ""

    def open_part(self, kind: str) -> list[Json]:
        """The events that must stand before a piece of this kind, `output_text` or `refusal`."""
        if kind == self._kind:
            return []
        events = self._close_part()
        self._kind = kind
        place = self.place | {"content_index": len(self.whole["content"])}
        more: Json = {"logprobs": []} if kind == "output_text" else {}
        self.head = delta_head(f"response.{kind}.delta", place | more)
        events.append({"type": "response.content_part.added", **place, "part": _part(kind, "")})
        return events

    def _close_part(self) -> list[Json]:
        if not self._kind:
            return []
        kind, text = self._kind, self.said()
        self._kind, self.pieces = "", []
        place = self.place | {"content_index": len(self.whole["content"])}
        part = _part(kind, text)
        self.whole["content"] = [*self.whole["content"], part]
        told = {"text": text, "logprobs": []} if kind == "output_text" else {"refusal": text}
        return [
            {"type": f"response.{kind}.done", **place, **told},
            {"type": "response.content_part.done", **place, "part": part},
        ]

    def end(self, status: Status) -> list[Json]:
        events = self._close_part()
        self.whole["status"] = status
        return events + super().end(status)


def _part(kind: str, text: str) -> Json:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class Call(Item):
    """A call to a function."""

    __slots__ = ()

    def __init__(self, index: int, digits: str, call: str, named: Json) -> None:
        id = f"fc_{digits}{index:02x}"
        super().__init__(index, {"id": id, **named, "call_id": call, "arguments": "", "status": "in_progress"})
        self.head = delta_head("response.function_call_arguments.delta", self.place)

    def end(self, status: Status) -> list[Json]:
        self.whole |= {"arguments": self.said() or "{}", "status": status}
        told = {"name": self.whole["name"], "arguments": self.whole["arguments"]}
        return [{"type": "response.function_call_arguments.done", **self.place, **told}, *super().end(status)]


class CustomCall(Item):
    """A call to a tool that takes plain text, which the model gave as the argument of a function: told when it is
    whole."""

    __slots__ = ()

    def __init__(self, index: int, digits: str, call: str, named: Json) -> None:
        super().__init__(index, {"id": f"ctc_{digits}{index:02x}", **named, "call_id": call, "input": ""})

    def end(self, status: Status) -> list[Json]:
        self.whole["input"] = text = _custom_input(self.said())
        return [
            {"type": "response.custom_tool_call_input.delta", **self.place, "delta": text},
            {"type": "response.custom_tool_call_input.done", **self.place, "input": text},
            *super().end(status),
        ]


def _custom_input(arguments: str) -> str:
    """A model that did not keep to the one argument has written the text itself."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = given.get(CUSTOM_ARGUMENT) if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments
