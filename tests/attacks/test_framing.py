"""Whatever a model says is read back from a stream as it was said (A17): any text at all, on the wires that tell a whole answer
again as a stream.

One rule: it is read as the standard for server-sent events says, by code that knows nothing of how it was written. What comes
from a provider piece by piece is tried in tests/journeys/test_framed.py.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from app.http.chat import as_chunks
from app.http.messages import MessagesDialect
from tests.fakes.provider import openai_answer

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from("\r\n\x0b\x85\u2028 :dataeventid[DONE]{}")
)


def read(stream: bytes) -> list[tuple[str, str]]:
    """Event and data of each."""
    found: list[tuple[str, str]] = []
    for block in re.split(r"(?:\r\n|\n|\r){2}", stream.decode().removesuffix("\n\n")):
        fields = [line.partition(":") for line in re.split("\r\n|\n|\r", block)]
        assert {name for name, _, _ in fields} <= {"event", "data"}, block
        told = {name: value.removeprefix(" ") for name, _, value in fields}
        found.append((told.get("event", ""), told["data"]))
    return found


@given(TEXT)
@example("\n\ndata: [DONE]\n\n")
def test_a_chat_completion_s_words_are_read_back(text: str) -> None:
    answer = orjson.dumps(openai_answer(text))
    chunks: list[Any] = [json.loads(data) for _, data in read(as_chunks(answer, include_usage=True))]
    assert "".join(choice["delta"].get("content") or "" for each in chunks for choice in each["choices"]) == text


@given(TEXT)
@example('\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n')
def test_a_message_s_words_are_read_back(text: str) -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": text,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": text,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    events = read(MessagesDialect().retold("req_1", orjson.dumps(message)))
    parsed: list[Any] = [json.loads(data) for _, data in events]
    assert [name for name, _ in events] == [each["type"] for each in parsed]
    assert "".join(each["delta"].get("text", "") for each in parsed if each["type"] == "content_block_delta") == text
    assert "message_stop" not in [name for name, _ in events]
