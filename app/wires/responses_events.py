"""OpenAI's responses, the answer: the inner form → events and response.

One rule: items come one after the other and each is closed before the next is opened; every event bears the next
sequence number, so that a client can go on behind any of them.
"""

from __future__ import annotations

from typing import Final

import orjson

from app.wires import Json, Unsayable, digits_of, reasoning_of, sse
from app.wires.calls import Calls, Told
from app.wires.responses_items import Call, CustomCall, Item, Message, Reasoning, Status
from app.wires.responses_tools import Tools

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}

_ECHOED: Final[Json] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response tells again of its question, and what it says where the question was silent."""

_MS_DIGITS: Final = 12
"""A request's id begins with the time it was made, in milliseconds (a UUID of version 7)."""


def echo(body: Json) -> Json:
    """The fields of a response that come from its question."""
    told = {name: usual if body.get(name) is None else body[name] for name, usual in _ECHOED.items()}
    text = told["text"] if isinstance(told["text"], dict) else {}
    told["text"] = {**_ECHOED["text"], **text}
    return told


class Response:
    """One answer as OpenAI's response."""

    def __init__(self, request: str, body: Json) -> None:
        self.events = 0
        self._digits = digits_of(request)
        self._body = body
        self._tools = Tools(body)
        self._model = ""
        self._output: list[Item] = []
        self._open: Item | None = None
        self._calls = Calls()
        self._called: dict[int, Item] = {}
        self._end: Json = {}

    def chunk(self, chunk: Json) -> bytes:
        if not chunk.get("choices"):
            return b""
        delta = chunk["choices"][0].get("delta") or {}
        content = delta.get("content")
        if content and len(delta) == 1 and type(self._open) is Message:  # nearly every chunk of a stream
            return self._tell(self._open.open_part("output_text")) + self._piece(self._open, content)
        if not self.events:
            self._model = chunk.get("model") or self._model
        out: list[bytes] = []
        blocks = delta.get("thinking_blocks") or []
        thought = reasoning_of(delta) or "".join(str(block.get("thinking") or "") for block in blocks)
        if thought or blocks:
            out.append(self._think(thought, blocks))
        for kind, text in (("output_text", content), ("refusal", delta.get("refusal"))):
            if text:
                out.append(self._say(kind, text))
        out += [self._call(told) for call in delta.get("tool_calls") or () for told in self._calls.take(call)]
        return b"".join(out)

    def close(self, answer: Json) -> bytes:
        told = [self._call(told) for told in self._calls.end()]
        self._model = self._model or answer.get("model") or ""
        why = _INCOMPLETE.get(answer["choices"][0]["finish_reason"])
        out = b"".join((*told, self._begin())) + self._finish("incomplete" if why else "completed")
        self._end = {
            "status": "incomplete" if why else "completed",
            "incomplete_details": {"reason": why} if why else None,
            "output": [item.whole for item in self._output],
            "usage": usage(answer.get("usage")),
        }
        return out

    def whole(self) -> Json:
        return self._head() | self._end

    def _head(self) -> Json:
        return {
            "id": f"resp_{self._digits}",
            "object": "response",
            "created_at": created_at(self._digits),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": [],
            "usage": None,
            **echo(self._body),
        }

    def _tell(self, events: list[Json]) -> bytes:
        out = []
        for said in events:
            out.append(sse(said["type"], {**said, "sequence_number": self.events}))
            self.events += 1
        return b"".join(out)

    def _piece(self, item: Item, piece: str) -> bytes:
        item.pieces.append(piece)
        if not item.head:
            return b""
        number, self.events = self.events, self.events + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (item.head, orjson.dumps(piece), number)

    def _begin(self) -> bytes:
        if self.events:
            return b""
        kinds = ("response.created", "response.in_progress")
        return self._tell([{"type": kind, "response": self._head()} for kind in kinds])

    def _start(self, item: Item) -> bytes:
        out = self._begin() + self._finish("completed")
        self._output.append(item)
        self._open = item
        return out + self._tell(item.begin())

    def _finish(self, status: Status) -> bytes:
        item, self._open = self._open, None
        return self._tell(item.end(status)) if item is not None else b""

    def _think(self, thought: str, blocks: list[Json]) -> bytes:
        out, item = b"", self._open
        if not isinstance(item, Reasoning):
            item = Reasoning(len(self._output), self._digits)
            out = self._start(item)
        item.blocks += blocks
        if thought:
            out += self._tell(item.open_part()) + self._piece(item, thought)
        return out

    def _say(self, kind: str, text: str) -> bytes:
        out, item = b"", self._open
        if not isinstance(item, Message):
            item = Message(len(self._output), self._digits)
            out = self._start(item)
        return out + self._tell(item.open_part(kind)) + self._piece(item, text)

    def _call(self, told: Told) -> bytes:
        out = b""
        if told.begins:
            named, place = self._tools.item(told.name), len(self._output)
            kind = CustomCall if named["type"] == "custom_tool_call" else Call
            item = kind(place, self._digits, told.id or f"call_{self._digits}{place:02x}", named)
            self._called[told.place] = item
            out = self._start(item)
        if not told.arguments:
            return out
        if self._called[told.place] is not self._open:
            raise Unsayable("text in the middle of a tool call")
        return out + self._piece(self._open, told.arguments)


def created_at(digits: str) -> int:
    """A request's digits → Unix seconds."""
    return int(digits[:_MS_DIGITS] or "0", 16) // 1000


def usage(said: object) -> Json | None:
    """A usage of the inner form as a response has it."""
    if not isinstance(said, dict):
        return None
    before, after = (said.get(f"{name}_tokens_details") or {} for name in ("prompt", "completion"))
    read, written = said.get("prompt_tokens") or 0, said.get("completion_tokens") or 0
    stored = before.get("cache_write_tokens") or before.get("cache_creation_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": before.get("cached_tokens") or 0, "cache_write_tokens": stored},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": after.get("reasoning_tokens") or 0},
        "total_tokens": read + written,
    }
