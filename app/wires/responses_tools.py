"""The tools of `/v1/responses`, which the inner form has as functions only, and their names there and back.

A custom tool takes plain text: it becomes a function with one text argument. The functions of a namespace are named
`namespace__name`. Hosted tools (`web_search` and the like) are left out: the model answers without them.
"""

from __future__ import annotations

from typing import Final

from app.wires import Json, Untranslatable
from app.wires.parts import short_name

CUSTOM_ARGUMENT: Final = "input"
"""The one argument of a function that stands for a custom tool."""


class Tools:
    """The tools of one question."""

    def __init__(self, body: Json) -> None:
        self._functions: list[Json] = []
        self._places: dict[str, tuple[str, str]] = {}
        """The name in the inner form → (namespace, name there)."""
        self._custom: set[str] = set()
        for place, tool in enumerate(body.get("tools") or ()):
            self._add(tool, f"tools[{place}]")

    def _add(self, tool: object, param: str) -> None:
        if not isinstance(tool, dict):
            raise Untranslatable("A tool is an object.", param)
        match tool.get("type"):
            case "function":
                self._function(str(tool.get("name")), tool)
            case "custom":
                name = str(tool.get("name"))
                self._custom.add(name)
                self._function(name, _custom(tool))
            case "namespace":
                for inner in tool.get("tools") or ():
                    if isinstance(inner, dict) and inner.get("type") == "function":
                        space, name = str(tool.get("name")), str(inner.get("name"))
                        flat = _flat(space, name)
                        self._places[flat] = (space, name)
                        self._function(flat, inner)
            case _:
                pass

    def _function(self, name: str, tool: Json) -> None:
        function = {"name": name, "parameters": tool.get("parameters") or {"type": "object", "properties": {}}}
        function |= {more: tool[more] for more in ("description", "strict") if tool.get(more) is not None}
        self._functions.append({"type": "function", "function": function})

    def asked(self, body: Json) -> Json:
        """The fields of the inner form that tools need. Raises Untranslatable."""
        functions, choice = self._functions, body.get("tool_choice")
        if not functions:
            return {}
        wanted: object = choice
        if isinstance(choice, dict):
            match choice.get("type"):
                case "function" | "custom":
                    wanted = {"type": "function", "function": {"name": self.flat(choice)}}
                case "allowed_tools":
                    allowed = {self.flat(tool) for tool in choice.get("tools") or () if isinstance(tool, dict)}
                    functions = [tool for tool in functions if tool["function"]["name"] in allowed]
                    wanted = choice.get("mode") or "auto"
                    if not functions:
                        return {}
                case kind:
                    raise Untranslatable(f"No tool of type {kind!r} can be called here.", "tool_choice.type")
        asked: Json = {"tools": functions}
        if wanted is not None:
            asked["tool_choice"] = wanted
        if body.get("parallel_tool_calls") is False:
            asked["parallel_tool_calls"] = False
        return asked

    def flat(self, called: Json) -> str:
        """The name in the inner form of what an item or a choice names."""
        space, name = called.get("namespace"), str(called.get("name"))
        return _flat(space, name) if isinstance(space, str) and space else name

    def item(self, name: str) -> Json:
        """An item's type, name and namespace for a call to the function of this name."""
        if name in self._custom:
            return {"type": "custom_tool_call", "name": name}
        if name in self._places:
            space, name = self._places[name]
            return {"type": "function_call", "name": name, "namespace": space}
        return {"type": "function_call", "name": name}


def _flat(space: str, name: str) -> str:
    return short_name(f"{space}__{name}")


def _custom(tool: Json) -> Json:
    description = [tool.get("description")]
    form = tool.get("format")
    if isinstance(form, dict) and form.get("definition"):
        description.append(f"The text follows this grammar ({form.get('syntax')}):\n{form['definition']}")
    argument = {"type": "string", "description": "The whole text that the tool is given."}
    return {
        "description": "\n\n".join(str(text) for text in description if text),
        "parameters": {
            "type": "object",
            "properties": {CUSTOM_ARGUMENT: argument},
            "required": [CUSTOM_ARGUMENT],
            "additionalProperties": False,
        },
    }
