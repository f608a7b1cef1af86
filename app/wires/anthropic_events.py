"""Anthropic's messages, the answer: the inner form → events and message.

One rule: blocks come one after the other, as Anthropic sends them, and each is closed before the next is opened.
"""

from __future__ import annotations

from typing import Final

import orjson

from app.wires import Json, Unsayable, digits_of, reasoning_of, sse
from app.wires.calls import Calls, Told
from app.wires.parts import short_name

_STOPS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

_DELTAS: Final = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


class _Block:
    """A block that is being told."""

    __slots__ = ("head", "kind", "pieces", "said")

    def __init__(self, index: int, said: Json) -> None:
        self.said = said
        self.kind: str = said["type"]
        self.pieces: list[str] = []
        delta, field = _DELTAS.get(self.kind, ("input_json_delta", "partial_json"))
        self.head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (index, delta.encode(), field.encode())
        )
        """Each delta is this, the piece as JSON, and two brackets: a tenth of the cost of dumping the whole event."""


class Message:
    """One answer as Anthropic's message."""

    def __init__(self, request: str, body: Json) -> None:
        self.events = 0
        self._digits = digits_of(request)
        self._stops = body.get("stop_sequences") or ()
        names = [tool["name"] for tool in body.get("tools") or () if isinstance(tool.get("name"), str)]
        self._names = {short_name(name): name for name in names}
        """As the inner form has them → as the client named them."""
        self._model = ""
        self._content: list[Json] = []
        self._open: _Block | None = None
        self._calls = Calls()
        self._tools: dict[int, _Block] = {}
        self._refused = False
        self._stop: tuple[str, str | None] = ("end_turn", None)
        self._usage: Json = {}

    def chunk(self, chunk: Json) -> bytes:
        if not chunk.get("choices"):
            return b""
        choice = chunk["choices"][0]
        delta = choice.get("delta") or {}
        if not self.events:
            self._model = chunk.get("model") or self._model
        if isinstance(matched := choice.get("stop_reason"), str) and matched in self._stops:
            self._stop = ("stop_sequence", matched)  # as vLLM tells it; OpenAI does not
        out: list[bytes] = []
        blocks = delta.get("thinking_blocks") or ()
        if not any(block.get("thinking") for block in blocks) and (thought := reasoning_of(delta)):
            out.append(self._say("thinking", thought))
        for block in blocks:
            if thought := block.get("thinking"):
                out.append(self._say("thinking", thought))
            out.append(self._sign(block))
        if content := delta.get("content"):
            out.append(self._say("text", content))
        if refusal := delta.get("refusal"):
            self._refused = True
            out.append(self._say("text", refusal))
        out += [self._call(told) for call in delta.get("tool_calls") or () for told in self._calls.take(call)]
        return b"".join(out)

    def close(self, answer: Json) -> bytes:
        told = [self._call(told) for told in self._calls.end()]
        self._model = self._model or answer.get("model") or ""
        out = b"".join((*told, self._begin(), self._end()))
        self._read_calls(answer["choices"][0]["finish_reason"])
        self._usage = usage(answer.get("usage"))
        if self._stop[0] != "stop_sequence":
            self._stop = (self._reason(answer["choices"][0]["finish_reason"]), None)
        delta = {"stop_reason": self._stop[0], "stop_sequence": self._stop[1]}
        return out + self._event({"type": "message_delta", "delta": delta, "usage": self._usage})

    def whole(self) -> Json:
        return self._head() | {
            "content": self._content,
            "stop_reason": self._stop[0],
            "stop_sequence": self._stop[1],
            "usage": self._usage,
        }

    def _reason(self, finish: str) -> str:
        if self._refused:
            return "refusal"
        if self._calls and finish == "stop":
            return "tool_use"  # some servers say `stop` whatever they did
        return _STOPS.get(finish, "end_turn")

    def _head(self) -> Json:
        return {"id": f"msg_{self._digits}", "type": "message", "role": "assistant", "model": self._model}

    def _event(self, said: Json) -> bytes:
        self.events += 1
        return sse(said["type"], said)

    def _begin(self) -> bytes:
        if self.events:
            return b""
        nothing = {"stop_reason": None, "stop_sequence": None, "usage": usage(None)}
        return self._event({"type": "message_start", "message": self._head() | {"content": []} | nothing})

    def _start(self, said: Json) -> tuple[_Block, bytes]:
        out = self._begin() + self._end()
        index = len(self._content)
        self._content.append(said)
        self._open = block = _Block(index, said)
        shown = said if said["type"] != "tool_use" else {**said, "input": {}}
        return block, out + self._event({"type": "content_block_start", "index": index, "content_block": shown})

    def _end(self) -> bytes:
        block, self._open = self._open, None
        if block is None:
            return b""
        if block.kind in _DELTAS:
            block.said[_DELTAS[block.kind][1]] = "".join(block.pieces)
        return self._event({"type": "content_block_stop", "index": len(self._content) - 1})

    def _say(self, kind: str, piece: str) -> bytes:
        block, out = self._open, b""
        if block is None or block.kind != kind:
            more = {"signature": ""} if kind == "thinking" else {}
            block, out = self._start({"type": kind, _DELTAS[kind][1]: "", **more})
        return out + self._piece(block, piece)

    def _piece(self, block: _Block, piece: str) -> bytes:
        block.pieces.append(piece)
        self.events += 1
        return b"%b%b}}\n\n" % (block.head, orjson.dumps(piece))

    def _sign(self, thought: Json) -> bytes:
        """What a block of thinking has beside its text: the signature that Anthropic wants to see again."""
        if thought.get("type") == "redacted_thinking":
            _, out = self._start({"type": "redacted_thinking", "data": thought.get("data") or ""})
            return out + self._end()
        signature = thought.get("signature")
        if not signature:
            return b""
        out = b""
        if self._open is None or self._open.kind != "thinking":
            _, out = self._start({"type": "thinking", "thinking": "", "signature": ""})
        assert self._open is not None
        self._open.said["signature"] = signature
        delta = {"type": "signature_delta", "signature": signature}
        signed = self._event({"type": "content_block_delta", "index": len(self._content) - 1, "delta": delta})
        return out + signed + self._end()

    def _call(self, told: Told) -> bytes:
        out = b""
        if told.begins:
            name = self._names.get(told.name, told.name)
            id = told.id or f"toolu_{self._digits}{len(self._content):02x}"
            block, out = self._start({"type": "tool_use", "id": id, "name": name, "input": {}})
            self._tools[told.place] = block
        if not told.arguments:
            return out
        if self._tools[told.place] is not self._open:
            raise Unsayable("text in the middle of a tool call")
        return out + self._piece(self._open, told.arguments)

    def _read_calls(self, finish: str) -> None:
        """Arguments, which the inner form has as text, are an object in the message."""
        for block in self._tools.values():
            try:
                arguments = orjson.loads("".join(block.pieces) or "{}")
            except orjson.JSONDecodeError:
                arguments = None
            if not isinstance(arguments, dict):
                if finish != "length":
                    raise Unsayable("arguments of a tool call that are no object")
                arguments = {}  # broken off at the limit, and the stop reason says so
            block.said["input"] = arguments


def usage(said: object) -> Json:
    """A usage of the inner form in Anthropic's: what was read from or written to a cache is counted apart."""
    known = said if isinstance(said, dict) else {}
    details = known.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    cached = details.get("cached_tokens") or 0
    written = details.get("cache_write_tokens") or details.get("cache_creation_tokens") or 0
    return {
        "input_tokens": max(0, (known.get("prompt_tokens") or 0) - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": known.get("completion_tokens") or 0,
    }
