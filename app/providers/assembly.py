"""The whole answer of a stream, put together from its chunks in OpenAI's format.

One rule: a chunk that is not of that format is garbled, and nothing of it is taken for truth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from app.providers.metered import metered_in
from app.wires import joined_thoughts
from handlers.rules.rating import Usage

_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_TOKENS_MAX = 2**53
_CHOICES_MAX = 1024
_TOOL_CALLS_MAX = 4096
"""Bounds on indexes, which a provider's nonsense could otherwise make a mountain of empty objects."""

Json = dict[str, Any]


class Garbled(ValueError):
    """Not what OpenAI's format says."""


class _Choice:
    __slots__ = ("finish_reason", "logprobs", "other", "texts", "tool_calls")

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.tool_calls: dict[int, Json] = {}
        self.other: Json = {}
        self.logprobs: Json | None = None
        self.finish_reason: str | None = None


class Assembly:
    """Chunks in, one `chat.completion` out. `text` gets every piece that the model wrote: text, reasoning, arguments."""

    __slots__ = ("_choices", "_head", "_text", "service_tier", "usage")

    def __init__(self, text: list[str]) -> None:
        self._text = text
        self._head: Json = {}
        self._choices: dict[int, _Choice] = {}
        self.usage: object = None
        """As the provider said it last."""
        self.service_tier: object = None
        """As it stood beside the usage, or at the beginning."""

    def add(self, chunk: Json) -> bool:
        """Take one chunk → whether it says anything beside the usage. Raises Garbled."""
        choices = chunk.get("choices")
        if not self._head:
            self._head = chunk
            self.service_tier = chunk.get("service_tier")
        if chunk.get("usage"):
            self.usage = chunk["usage"]
            self.service_tier = chunk.get("service_tier") or self.service_tier
        if not choices:
            return not chunk.get("usage")
        try:
            for said in choices:
                self._hear(said)
        except (TypeError, AttributeError, KeyError):
            raise Garbled("a choice of the wrong shape") from None
        return True

    def _hear(self, said: Json) -> None:
        index = said.get("index", 0)
        choice = self._choices.get(index)
        if choice is None:
            choice = self._begin(index)
        delta = said.get("delta")
        if delta:
            content = delta.get("content")
            if content:
                self._write(choice, "content", content)
            if len(delta) > 1 or content is None:
                self._hear_more(choice, delta)
        if finish := said.get("finish_reason"):
            choice.finish_reason = finish_reason_of(finish)
        if logprobs := said.get("logprobs"):
            _extend(choice, logprobs)

    def _begin(self, index: object) -> _Choice:
        if not isinstance(index, int) or not 0 <= index < _CHOICES_MAX:
            raise Garbled("a choice's index")
        choice = self._choices[index] = _Choice()
        return choice

    def _write(self, choice: _Choice, name: str, piece: object) -> None:
        if type(piece) is not str:
            raise Garbled(name)
        self._text.append(piece)
        if name in choice.texts:
            choice.texts[name].append(piece)
        else:
            choice.texts[name] = [piece]

    def _hear_more(self, choice: _Choice, delta: Json) -> None:
        """What is rarer than a piece of text: tool calls, reasoning, refusals, and whatever a provider adds."""
        for name, value in delta.items():
            if value is None or name == "role":
                continue
            if name == "content":
                if value == "":
                    choice.texts.setdefault(name, [])
            elif name == "tool_calls":
                for call in value:
                    self._call(choice, call)
            elif name == "function_call":
                _merge_function(choice.other.setdefault(name, {"name": "", "arguments": ""}), value, self._text)
            elif isinstance(value, str):
                self._write(choice, name, value)
            elif isinstance(value, list):
                choice.other[name] = [*choice.other.get(name, ()), *value]
            else:
                choice.other[name] = value

    def _call(self, choice: _Choice, call: Json) -> None:
        index = call.get("index", 0)
        if not isinstance(index, int) or not 0 <= index < _TOOL_CALLS_MAX:
            raise Garbled("a tool call's index")
        whole = choice.tool_calls.get(index)
        if whole is None:
            whole = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            choice.tool_calls[index] = whole
        for name, value in call.items():
            if name == "function":
                _merge_function(whole["function"], value or {}, self._text)
            elif name != "index" and value:
                whole[name] = value

    @property
    def begun(self) -> bool:
        return bool(self._choices)

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    def whole(self) -> Json:
        """The answer as a `chat.completion`; a choice that never said why it ended ends with `stop`."""
        answer: Json = {
            "id": _text(self._head.get("id")) or f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion",
            "created": _whole_number(self._head.get("created")) or int(time.time()),
            "model": _text(self._head.get("model")),
            "choices": [_whole_choice(index, choice) for index, choice in sorted(self._choices.items())],
        }
        if isinstance(self.usage, dict):
            answer["usage"] = self.usage
        for name, value in self._head.items():
            if name not in answer and name != "usage":
                answer[name] = value
        return answer


def _whole_choice(index: int, choice: _Choice) -> Json:
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    message.update((name, "".join(pieces)) for name, pieces in choice.texts.items())
    message.update(choice.other)
    if isinstance(blocks := choice.other.get("thinking_blocks"), list):
        message["thinking_blocks"] = joined_thoughts(blocks)
    if choice.tool_calls:
        message["tool_calls"] = [call for _, call in sorted(choice.tool_calls.items())]
    return {
        "index": index,
        "message": message,
        "finish_reason": choice.finish_reason or "stop",
        "logprobs": choice.logprobs,
    }


def _merge_function(whole: Json, said: Json, text: list[str]) -> None:
    if name := said.get("name"):
        whole["name"] = string(name)
    if arguments := said.get("arguments"):
        whole["arguments"] += string(arguments)
        text.append(arguments)


def _extend(choice: _Choice, logprobs: Mapping[str, Any]) -> None:
    whole = choice.logprobs = choice.logprobs or {"content": None, "refusal": None}
    for name, tokens in logprobs.items():
        if tokens is not None:
            whole[name] = [*(whole.get(name) or ()), *tokens]


def finish_reason_of(said: object) -> str:
    """One of OpenAI's reasons; a word of a provider's own counts as `stop`."""
    return said if isinstance(said, str) and said in _FINISH_REASONS else "stop"


def usage_of(said: object, *, service: object = None) -> Usage | None:
    """A provider's usage object → Usage; None where it is missing or makes no sense, so that it is counted here instead.

    `service` is the `service_tier` that stands beside it.

    xAI leaves the reasoning tokens, which it charges for, out of `completion_tokens`; its total has them.
    """
    if not isinstance(said, dict):
        return None
    read, written, total = (token_count(said.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if read is None or written is None:
        return None
    before, after = said.get("prompt_tokens_details"), said.get("completion_tokens_details")
    reasoned = (token_count(after.get("reasoning_tokens")) or 0) if isinstance(after, dict) else 0
    if reasoned and total == read + written + reasoned:
        written += reasoned
    cached = (token_count(before.get("cached_tokens")) or 0) if isinstance(before, dict) else 0
    stored = 0
    if isinstance(before, dict):
        stored = token_count(before.get("cache_write_tokens")) or token_count(before.get("cache_creation_tokens")) or 0
    if cached + stored > read:
        return None
    return Usage(read, written, cached, stored, metered=metered_in(said, service=service))


def token_count(value: object) -> int | None:
    """A count of tokens as a provider says it; None where it makes no sense."""
    number = _whole_number(value)
    return number if number is not None and number <= _TOKENS_MAX else None


def _whole_number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def string(value: object) -> str:
    """Raises Garbled where it is none."""
    if not isinstance(value, str):
        raise Garbled("text that is none")
    return value


def harmless(value: Any) -> Any:
    """The same JSON value without NUL characters, which databases refuse."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [harmless(item) for item in value]
    if isinstance(value, dict):
        return {harmless(name): harmless(item) for name, item in value.items()}
    return value
