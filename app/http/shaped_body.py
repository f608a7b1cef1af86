"""A small body of a route that manages something, as the shape it must have."""

from __future__ import annotations

from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.http.json_body import parse_object, read_body
from app.http.shapes import refuse_invalid

BODY_BYTES_MAX: Final = 64 * 1024
"""All that the bounds of a key's description allow, which is the largest of them, and no more."""

Body = TypeVar("Body", bound=BaseModel)


async def shaped_body(shape: type[Body], request: Request) -> Body:
    """None at all stands for an empty object. Raises Refused: 400 for another shape, 413 for too much."""
    raw = await read_body(request.receive, BODY_BYTES_MAX) or b"{}"
    parse_object(raw)  # refuses what is no object, too deep, or holds a NUL, which Postgres cannot keep
    try:
        return shape.model_validate_json(raw)
    except ValidationError as invalid:
        raise refuse_invalid(invalid) from None
