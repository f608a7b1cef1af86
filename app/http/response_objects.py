"""OpenAI's response object where no provider has made one: before the end, after a failure, and told as a stream.

One rule: what the question said is told again as it was; of the answer nothing is told that no provider has said.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson

from app.http.dialect import event
from app.wires import digits_of
from app.wires.responses_events import created_at, echo

Json = dict[str, Any]
"""A document on its way to the client: the door is the one place where a bare dict is allowed."""

Status = Literal["queued", "in_progress", "failed", "cancelled"]

PREFIX: Final = "resp_"

_CODES: Final = {429: "rate_limit_exceeded", 400: "invalid_prompt", 413: "invalid_prompt"}
"""HTTP status → OpenAI's code in a response, of which it knows few; every other is `server_error`."""


_OF_THE_QUESTION: Final = ("background", "metadata", "previous_response_id", "store")


def response_id(request: str) -> str:
    """`req_…` → the id of the response that the request makes."""
    return PREFIX + digits_of(request)


def request_of(response: str) -> str:
    """The other way round; whatever it is given."""
    return "req_" + response.removeprefix(PREFIX) if response.startswith(PREFIX) else ""


def unfinished(request: str, question: Json, status: Status, error: Json | None = None) -> Json:
    """A response that no provider has ended. `question` is the body as the client sent it."""
    return {
        "id": response_id(request),
        "object": "response",
        "created_at": created_at(digits_of(request)),
        "status": status,
        "error": error,
        "incomplete_details": None,
        "model": question["model"],
        "output": [],
        "usage": None,
        **echo(question),
    }


def failed(request: str, question: Json, refusal: bytes, http_status: int) -> Json:
    """A response that failed; `refusal` is OpenAI's error object."""
    message = orjson.loads(refusal)["error"]["message"] if refusal else "The request failed."
    return unfinished(
        request, question, "failed", {"code": _CODES.get(http_status, "server_error"), "message": message}
    )


def finished(answer: bytes, question: Json) -> Json:
    """A response as the provider gave it, with what only this question knows: a provider is asked with everything in one
    body, and an answer from the response cache was given to another question that meant the same."""
    response: Json = orjson.loads(answer)
    told = echo(question)
    return response | {name: told[name] for name in _OF_THE_QUESTION}


def closing(response: Json, sequence_number: int) -> bytes:
    """The event that ends a stream, by how the response ended."""
    kind = "response.incomplete" if response.get("status") == "incomplete" else "response.completed"
    return _event({"type": kind, "sequence_number": sequence_number, "response": response})


def broken(response: Json, events: int) -> bytes:
    """The events that end a stream badly; `response` is failed or cancelled."""
    said = b""
    if events == 0:  # the SDK's helper takes nothing before this one
        said = _event({"type": "response.created", "sequence_number": 0, "response": response})
        events = 1
    return said + _event({"type": "response.failed", "sequence_number": events, "response": response})


def as_events(response: Json) -> bytes:
    """A whole response as the events of a stream, without the closing one: for a client that asks for a stream after
    the fact."""
    begun = response | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    said: list[Json] = [{"type": kind, "response": begun} for kind in ("response.created", "response.in_progress")]
    for index, item in enumerate(response["output"]):
        place = {"output_index": index}
        said.append({"type": "response.output_item.added", **place, "item": _empty(item)})
        said += _inside(item, place | {"item_id": item.get("id") or ""})
        said.append({"type": "response.output_item.done", **place, "item": item})
    return b"".join(_event(one | {"sequence_number": number}) for number, one in enumerate(said))


def _empty(item: Json) -> Json:
    match item["type"]:
        case "message":
            return item | {"status": "in_progress", "content": []}
        case "function_call":
            return item | {"status": "in_progress", "arguments": ""}
        case "custom_tool_call":
            return item | {"input": ""}
        case "reasoning":
            return item | {"summary": [], **({"content": []} if item.get("content") else {})}
        case _:
            return item


def _inside(item: Json, place: Json) -> list[Json]:
    """What is said between an item's beginning and its end."""
    match item["type"]:
        case "message":
            return [
                one for at, part in enumerate(item["content"]) for one in _part(part, place | {"content_index": at})
            ]
        case "function_call":
            said = {"arguments": item["arguments"]}
            return [
                {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]},
                {"type": "response.function_call_arguments.done", **place, "name": item["name"], **said},
            ]
        case "custom_tool_call":
            return [
                {"type": "response.custom_tool_call_input.delta", **place, "delta": item["input"]},
                {"type": "response.custom_tool_call_input.done", **place, "input": item["input"]},
            ]
        case "reasoning":
            return [
                {"type": "response.reasoning_text.delta", **place, "content_index": at, "delta": part["text"]}
                for at, part in enumerate(item.get("content") or ())
            ]
        case _:
            return []


def _part(part: Json, place: Json) -> list[Json]:
    if part["type"] == "refusal":
        empty, kind, said = part | {"refusal": ""}, "response.refusal", part["refusal"]
        delta, done = {"delta": said}, {"refusal": said}
    else:
        empty, kind, said = part | {"text": "", "annotations": []}, "response.output_text", part["text"]
        delta, done = {"delta": said, "logprobs": []}, {"text": said, "logprobs": []}
    return [
        {"type": "response.content_part.added", **place, "part": empty},
        {"type": f"{kind}.delta", **place, **delta},
        {"type": f"{kind}.done", **place, **done},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def _event(said: Json) -> bytes:
    return event(said["type"], orjson.dumps(said))
