"""Anthropic's messages, the question: `/v1/messages` → the inner form.

One rule: what would change the meaning of the question and cannot be said in the inner form is refused by name; what is
only advice to Anthropic's own servers is left out. Both are tables below.
"""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from app.wires import Json, Untranslatable
from app.wires.parts import content_of, file_part, picture_part, short_name, strictly, text_part, tool_messages

REFUSED: Final = {
    "mcp_servers": "connections to MCP servers",
    "container": "containers",
}
"""Fields that ask Anthropic's servers to do something. Every other unknown field is left out: `context_management`,
`cache_control`, `service_tier`, `speed`, `inference_geo`, `top_k` change how it is answered, not what is asked."""

LEFT_OUT: Final = frozenset(
    {
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
    }
)
"""Blocks of an assistant's earlier turns that tell what Anthropic's servers did: what came of it stands in the text."""

_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Anthropic's words for effort → the three that every reasoning model knows."""

_BUDGET_LOW, _BUDGET_MEDIUM = 4_096, 16_384
"""Thinking tokens up to which a budget counts as low, as medium."""

_USER_CHARACTERS_MAX = 64
"""OpenAI refuses a longer `user`; Claude Code's are longer."""

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def inward(body: Json) -> Json:
    """The question in the inner form; `model` and `stream` are the adapter's. Raises Untranslatable."""
    for name, what in REFUSED.items():
        if body.get(name):
            raise Untranslatable(f"Only Anthropic's own servers have {what}.", name)
    messages = _system(body.get("system"))
    for place, message in enumerate(_list(body.get("messages"), "messages")):
        messages += _messages(message, f"messages[{place}]")
    asked: Json = {"model": body.get("model"), "messages": messages}
    for name in ("max_tokens", "temperature", "top_p"):
        if body.get(name) is not None:
            asked[name] = body[name]
    if stops := body.get("stop_sequences"):
        asked["stop"] = stops
    if user := _object(body.get("metadata")).get("user_id"):
        asked["user"] = _short(str(user))
    if effort := _effort(body):
        asked["reasoning_effort"] = effort
    if (answer := _answer_format(body)) is not None:
        asked["response_format"] = answer
    return asked | _tools(body)


def _system(system: object) -> list[Json]:
    if isinstance(system, list):
        system = "\n\n".join(_text(block, "system") for block in system)
    return [{"role": "system", "content": system}] if isinstance(system, str) and system else []


def _messages(message: object, param: str) -> list[Json]:
    """One message of Anthropic's → one or several of the inner form."""
    said = _object(message)
    role, content = said.get("role"), said.get("content")
    if role not in ("user", "assistant", "system"):
        raise Untranslatable("A message's role is user, assistant or system.", f"{param}.role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = [_object(block) for block in _list(content, f"{param}.content")]
    if role == "assistant":
        return [assistant(blocks, f"{param}.content")]
    results = [_result(block, param) for block in blocks if block.get("type") == "tool_result"]
    others = [part for block in blocks if block.get("type") != "tool_result" for part in _parts(block, param)]
    return tool_messages(results) + ([{"role": role, "content": content_of(others)}] if others else [])


def assistant(blocks: list[Json], param: str = "content") -> Json:
    """What an assistant said, as one message of the inner form."""
    texts: list[str] = []
    thoughts: list[Json] = []
    calls: list[Json] = []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(_text(block, param))
            case "compaction":
                texts.append(str(block.get("content") or ""))  # what was said before, in short
            case "thinking" | "redacted_thinking":
                thoughts.append(block)
            case "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                function = {"name": short_name(str(block.get("name"))), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case kind if kind in LEFT_OUT:
                pass
            case kind:
                raise Untranslatable(f"Only Anthropic's own models take a block of type {kind!r} here.", param)
    message: Json = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if thoughts:
        message["reasoning_content"] = "".join(str(block.get("thinking") or "") for block in thoughts)
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _result(block: Json, param: str) -> tuple[str, list[Json]]:
    """A tool's result; that it was an error has no field in the inner form, so it is said in words."""
    content = block.get("content")
    if isinstance(content, str):
        parts = [text_part(content)]
    else:
        parts = [part for item in content or () for part in _parts(_object(item), param)]
    if block.get("is_error"):
        parts.insert(0, text_part("The tool failed:"))
    return str(block.get("tool_use_id")), parts


def _parts(block: Json, param: str) -> list[Json]:
    """One block of a user's message or a tool's result."""
    source = _object(block.get("source"))
    match block.get("type"), source.get("type"):
        case "text", _:
            return [text_part(_text(block, param))]
        case "image", "base64":
            return [picture_part(f"data:{source.get('media_type')};base64,{source.get('data')}")]
        case "image", "url":
            return [picture_part(str(source.get("url")))]
        case "document", "text":
            return [text_part(_titled(block, str(source.get("data"))))]
        case "document", "content":
            inner = source.get("content")
            if isinstance(inner, str):
                return [text_part(_titled(block, inner))]
            head = [text_part(title)] if (title := _titled(block, "").strip()) else []
            return head + [part for item in inner or () for part in _parts(_object(item), param)]
        case "document", "base64":
            return [file_part(block.get("title"), f"data:{source.get('media_type')};base64,{source.get('data')}")]
        case "search_result", _:
            found = "\n".join(_text(item, param) for item in block.get("content") or ())
            return [text_part(f"{block.get('title')} ({block.get('source')})\n{found}")]
        case "tool_reference", _:
            return []  # says which deferred tool was found; the tool itself stands in `tools`
        case kind, of:
            what = f"{kind!r} from a source of type {of!r}" if of else f"{kind!r}"
            raise Untranslatable(f"Only Anthropic's own models take a block of type {what}.", param)


def _titled(block: Json, text: str) -> str:
    heads = [str(block[name]) for name in ("title", "context") if block.get(name)]
    return "\n".join([*heads, text])


def _tools(body: Json) -> Json:
    tools = []
    for place, tool in enumerate(body.get("tools") or ()):
        said = _object(tool)
        if not said:
            raise Untranslatable("A tool is an object.", f"tools[{place}]")
        if said.get("type") not in (None, "custom"):
            raise Untranslatable(f"Only Anthropic's own models have the tool {said['type']!r}.", f"tools[{place}].type")
        function = {
            "name": short_name(str(said.get("name"))),
            "parameters": said.get("input_schema") or {"type": "object"},
        }
        function |= {name: said[name] for name in ("description", "strict") if said.get(name) is not None}
        tools.append({"type": "function", "function": function})
    if not tools:
        return {}
    asked: Json = {"tools": tools}
    choice = _object(body.get("tool_choice"))
    if choice.get("type") == "tool":
        asked["tool_choice"] = {"type": "function", "function": {"name": short_name(str(choice.get("name")))}}
    elif choice:
        if choice.get("type") not in _CHOICES:
            raise Untranslatable(f"There is no tool choice {choice.get('type')!r}.", "tool_choice.type")
        asked["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        asked["parallel_tool_calls"] = False
    return asked


def _effort(body: Json) -> str | None:
    thinking, config = _object(body.get("thinking")), _object(body.get("output_config"))
    if thinking.get("type") == "disabled":
        return None
    if effort := _EFFORTS.get(str(config.get("effort"))):
        return effort
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    return "low" if budget <= _BUDGET_LOW else "medium" if budget <= _BUDGET_MEDIUM else "high"


def _answer_format(body: Json) -> Json | None:
    wanted = _object(_object(body.get("output_config")).get("format") or body.get("output_format"))
    if wanted.get("type") != "json_schema":
        return None
    schema = wanted.get("schema")
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": strictly(schema)},
    }


def _short(user: str) -> str:
    """The same user gives the same name."""
    return user if len(user) <= _USER_CHARACTERS_MAX else hashlib.sha256(user.encode()).hexdigest()


def _text(block: object, param: str) -> str:
    text = _object(block).get("text")
    if not isinstance(text, str):
        raise Untranslatable("A text block has a text.", param)
    return text


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object, param: str) -> list[object]:
    if not isinstance(value, list):
        raise Untranslatable(f"{param} is a list.", param)
    return value
