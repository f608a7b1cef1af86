"""`/openapi.json`: OpenAPI 3.1 from the table of operations and the shapes. One rule: made once, sent as bytes."""

from __future__ import annotations

import re
from functools import cache
from typing import Final, cast

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.operation import Answer, Operation, Parameter
from app.http.operations import OPERATIONS
from handlers.rules.roles import SCOPE_OF

VERSION: Final = "0.1.0"
EVENTS: Final = "text/event-stream"

Json = dict[str, object]


def routes() -> list[Route]:
    return [Route("/openapi.json", show, methods=["GET"])]


async def show(request: Request) -> Response:
    return Response(_text(), 200, {"cache-control": "no-cache"}, "application/json")


@cache
def _text() -> bytes:
    return orjson.dumps(document())


def document() -> Json:
    """The whole description."""
    paths: dict[str, Json] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Helix",
            "version": VERSION,
            "description": "One API in front of every LLM, on a log that loses nothing and bills once. With the header "
            "`x-helix-account` a person acts for a team that he belongs to, in his role there; `x-helix-needs` of an operation "
            "names what is needed.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


@cache
def schemas() -> Json:
    """Every shape by its name, as JSON Schema 2020-12."""
    named: dict[str, type[BaseModel]] = {}
    for each in OPERATIONS:
        for shape in (each.body, *(answer.shape for answer in each.answers.values())):
            if shape is not None:
                named[shape.__name__] = shape
    _, made = models_json_schema(
        [(shape, "validation") for shape in named.values()], ref_template="#/components/schemas/{model}"
    )
    return cast(Json, made["$defs"])


def _operation(each: Operation) -> Json:
    said: Json = {
        "operationId": _operation_id(each),
        "summary": each.title,
        "description": each.about,
        "tags": [each.group],
        "parameters": [_parameter(parameter) for parameter in each.parameters],
        "responses": {str(status): _answer(each, status, answer) for status, answer in each.answers.items()},
        "security": [{"bearer": []}, {"header": []}] if each.needs_key else [],
    }
    if each.action is not None:
        said["x-helix-needs"] = {"action": each.action, "scope": SCOPE_OF[each.action]}
    if each.body is not None:
        content: Json = {"schema": _ref(each.body)}
        if each.example:
            content["example"] = orjson.loads(each.example)
        said["requestBody"] = {"required": True, "content": {"application/json": content}}
    return said


def _operation_id(each: Operation) -> str:
    return each.method.lower() + re.sub(r"[^A-Za-z0-9]+", "_", each.path).rstrip("_")


def _parameter(parameter: Parameter) -> Json:
    schema: Json = {"type": parameter.kind}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.meaning,
        "schema": schema,
    }


def _answer(each: Operation, status: int, answer: Answer) -> Json:
    content: Json = {answer.media: _content(answer)}
    if each.streams and status == 200:
        content[EVENTS] = {}
    return {
        "description": answer.meaning,
        "headers": {"x-request-id": {"schema": {"type": "string"}, "description": "The id of this request."}},
        "content": content,
    }


def _content(answer: Answer) -> Json:
    if answer.shape is not None:
        return {"schema": _ref(answer.shape)}
    if answer.media == EVENTS:
        return {}  # a schema would be one of the whole stream for some readers, of each event for others
    return {"schema": {"type": "object" if answer.media == "application/json" else "string"}}


def _ref(shape: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}
