"""OpenAI's responses, the question: `/v1/responses` → the inner form.

One rule: items and tools that a hosted service of OpenAI's stands behind are left out where the conversation can do
without them, and refused by name where it cannot. Both are tables below.
"""

from __future__ import annotations

from typing import Final

import orjson

from app.wires import Json, Untranslatable
from app.wires.parts import content_of, file_part, picture_part, text_part, tool_messages
from app.wires.responses_thoughts import thoughts_in
from app.wires.responses_tools import CUSTOM_ARGUMENT, Tools

LEFT_OUT: Final = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
    }
)
"""Items of earlier answers that tell what OpenAI's servers did: what came of it stands in the messages."""

REFUSED: Final = {
    "prompt": "prompts kept at OpenAI",
    "conversation": "conversations kept at OpenAI",
}
"""Fields whose meaning lies on OpenAI's servers. Every other unknown field is left out."""

_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def inward(body: Json) -> Json:
    """The question in the inner form; `model` and `stream` are the adapter's. Raises Untranslatable."""
    for name, what in REFUSED.items():
        if body.get(name):
            raise Untranslatable(f"There are no {what} here.", name)
    tools = Tools(body)
    conversation = _Conversation(tools)
    if instructions := body.get("instructions"):
        conversation.system(_instructions(instructions))
    said = body.get("input")
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    if not isinstance(said, list):
        raise Untranslatable("input is a text or a list of items.", "input")
    for place, item in enumerate(said):
        if not isinstance(item, dict):
            raise Untranslatable("An item is an object.", f"input[{place}]")
        conversation.add(item, f"input[{place}]")
    asked: Json = {"model": body.get("model"), "messages": conversation.messages()}
    for name, ours in (("max_output_tokens", "max_tokens"), ("temperature", "temperature"), ("top_p", "top_p")):
        if body.get(name) is not None:
            asked[ours] = body[name]
    if user := body.get("safety_identifier") or body.get("user"):
        asked["user"] = user
    reasoning, text = _object(body.get("reasoning")), _object(body.get("text"))
    if effort := _EFFORTS.get(str(reasoning.get("effort"))):
        asked["reasoning_effort"] = effort
    if (answer := _answer_format(_object(text.get("format")))) is not None:
        asked["response_format"] = answer
    return asked | tools.asked(body)


def _instructions(instructions: object) -> str:
    if isinstance(instructions, str):
        return instructions
    raise Untranslatable("Instructions are a text here.", "instructions")


def _answer_format(wanted: Json) -> Json | None:
    match wanted.get("type"):
        case "json_schema":
            names = ("name", "description", "schema", "strict")
            schema = {name: wanted[name] for name in names if wanted.get(name) is not None}
            return {"type": "json_schema", "json_schema": schema}
        case "json_object":
            return {"type": "json_object"}
        case _:
            return None


class _Conversation:
    """Items, one after the other, into messages: an assistant's text, thoughts and calls are one message there."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._system: list[str] = []
        self._messages: list[Json] = []
        self._assistant: Json | None = None
        self._results: list[tuple[str, list[Json]]] = []

    def system(self, text: str) -> None:
        """What is said at the beginning is one message: many servers' templates take no second one."""
        if self._messages or self._assistant or self._results:
            self._settle()
            self._messages.append({"role": "system", "content": text})
        else:
            self._system.append(text)

    def messages(self) -> list[Json]:
        self._settle()
        head = [{"role": "system", "content": "\n\n".join(self._system)}] if self._system else []
        return head + self._messages

    def add(self, item: Json, param: str) -> None:
        kind = item.get("type") or "message"
        match kind:
            case "message":
                self._message(item, param)
            case "reasoning":
                self._think(item)
            case "function_call" | "custom_tool_call":
                self._call(item, custom=kind == "custom_tool_call")
            case "function_call_output" | "custom_tool_call_output":
                if self._assistant:
                    self._settle()
                self._results.append((str(item.get("call_id")), _parts(item.get("output"), f"{param}.output")))
            case "item_reference":
                raise Untranslatable("An item is given in full here, not by reference.", param)
            case kind if kind in LEFT_OUT:
                pass
            case kind:
                raise Untranslatable(f"Only OpenAI's own models take an item of type {kind!r}.", f"{param}.type")

    def _message(self, item: Json, param: str) -> None:
        role = item.get("role")
        parts = _parts(item.get("content"), f"{param}.content")
        if role in ("system", "developer"):
            self.system("\n\n".join(part["text"] for part in parts if part["type"] == "text"))
        elif role == "user":
            self._settle()
            self._messages.append({"role": "user", "content": content_of(parts)})
        elif role == "assistant":
            message = self._said()
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            message["content"] = (message["content"] or "") + text
        else:
            raise Untranslatable("A message's role is user, assistant, system or developer.", f"{param}.role")

    def _think(self, item: Json) -> None:
        message = self._said()
        texts = [piece.get("text") for piece in item.get("content") or item.get("summary") or ()]
        thought = "\n".join(text for text in texts if isinstance(text, str))
        if thought:
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
        if blocks := thoughts_in(item.get("encrypted_content")):
            message.setdefault("thinking_blocks", []).extend(blocks)

    def _call(self, item: Json, *, custom: bool) -> None:
        arguments = item.get("arguments") or "{}"
        if custom:
            arguments = orjson.dumps({CUSTOM_ARGUMENT: item.get("input") or ""}).decode()
        function = {"name": self._tools.flat(item), "arguments": arguments}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        self._said().setdefault("tool_calls", []).append(call)

    def _said(self) -> Json:
        if self._assistant is None:
            self._settle()
            self._assistant = {"role": "assistant", "content": None}
        return self._assistant

    def _settle(self) -> None:
        """What was being put together is whole."""
        if self._assistant is not None and (self._assistant["content"] or "tool_calls" in self._assistant):
            self._messages.append(self._assistant)  # thoughts that led to nothing are not said again
        self._messages += tool_messages(self._results)
        self._assistant, self._results = None, []


def _parts(content: object, param: str) -> list[Json]:
    if isinstance(content, str):
        return [text_part(content)]
    if not isinstance(content, list):
        raise Untranslatable(f"{param} is a text or a list of parts.", param)
    return [_part(_object(part), f"{param}[{place}]") for place, part in enumerate(content)]


def _part(part: Json, param: str) -> Json:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return text_part(str(part.get("text") or ""))
        case "refusal":
            return text_part(str(part.get("refusal") or ""))
        case "input_image" if isinstance(part.get("image_url"), str):
            return picture_part(part["image_url"], part.get("detail"))
        case "input_file" if isinstance(part.get("file_data"), str):
            return file_part(part.get("filename"), part["file_data"])
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case "input_image" | "input_file":
            raise Untranslatable("Pictures and files are given in full here, not by their id at OpenAI.", param)
        case kind:
            raise Untranslatable(f"Only OpenAI's own models take a part of type {kind!r}.", f"{param}.type")


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
