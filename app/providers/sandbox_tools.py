"""The least JSON value that a schema accepts, for the sandbox's `tools` model. Knows the parts of JSON Schema that tools
use; a schema beyond them gets an honest try."""

from __future__ import annotations

from typing import Any

_DEPTH_MAX = 16
"""A schema that refers to itself is cut off here."""

Json = dict[str, Any]


def least_value(schema: object, root: Json | None = None, depth: int = 0) -> Any:
    """A schema → the first value it names, or the smallest of its type."""
    if not isinstance(schema, dict) or depth > _DEPTH_MAX:
        return None
    root = schema if root is None else root
    if "const" in schema:
        return schema["const"]
    for named in ("enum", "examples"):
        if schema.get(named):
            return schema[named][0]
    if "default" in schema:
        return schema["default"]
    if "$ref" in schema:
        return least_value(_referred(str(schema["$ref"]), root), root, depth + 1)
    for several in ("anyOf", "oneOf"):
        if schema.get(several):
            return least_value(schema[several][0], root, depth + 1)
    if schema.get("allOf"):
        merged: Json = {}
        for part in schema["allOf"]:
            merged |= part if isinstance(part, dict) else {}
        return least_value(merged, root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Json, root: Json, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    match kind or ("object" if "properties" in schema else "null"):
        case "object":
            properties = schema.get("properties") or {}
            return {name: least_value(properties.get(name), root, depth + 1) for name in schema.get("required") or ()}
        case "array":
            return [least_value(schema.get("items"), root, depth + 1)] * int(schema.get("minItems") or 0)
        case "string":
            return "x" * max(1, int(schema.get("minLength") or 0))
        case "integer" | "number":
            lowest = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            return min(lowest, schema["maximum"]) if "maximum" in schema else lowest
        case "boolean":
            return True
        case _:
            return None


def _referred(reference: str, root: Json) -> object:
    """`#/$defs/Place` → what stands there."""
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found
