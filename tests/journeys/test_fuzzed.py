"""Whatever is sent to whatever route: an answer below 500, in a shape (A5, A6, A10). Routes and parameters come from the table
that `/openapi.json` is written from.

One rule: each case is data, so that a failing one is shown small and can be sent again. HELIX_FUZZ_CASES=100000 is the long run.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from app.http.operation import Operation
from app.http.operations import OPERATIONS
from app.providers.longtail import PARAMETERS
from tests.journeys.running import Helix

TOGETHER: Final = 10
"""Cases in one example, sent at once."""
CASES: Final = int(os.environ.get("HELIX_FUZZ_CASES", "1000"))

HELD_OPEN: Final = {"wait"}
"""Parameters that ask for time; their junk is tried in tests/journeys/test_junk.py."""

ENDING: Final = ("DELETE", "/v1/users/me")
"""It would end the account of all the other cases."""

GOOD: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"model": "sandbox/echo", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/chat": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/messages": {
        "model": "sandbox/echo",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "system": "short",
    },
    "/v1/messages/count_tokens": {"model": "sandbox/echo", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/responses": {"model": "sandbox/echo", "input": [{"role": "user", "content": "hello"}], "store": False},
    "/v1/embeddings": {"model": "sandbox/embed", "input": ["hello", "there"]},
}
NAMES: Final = sorted(
    PARAMETERS
    | {"model", "input", "stream", "stream_options", "include_usage", "store", "background", "metadata", "instructions"}
    | {
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "source",
        "data",
        "tool_calls",
        "tool_call_id",
        "function",
    }
    | {"name", "arguments", "parameters", "input_schema", "tool_use_id", "optimize", "previous_response_id", "thinking"}
    | {"budget_tokens", "cache_control", "system", "stop_sequences", "encoding_format", "dimensions", "conversation_id"}
    | {"api_base", "base_url", "api_key", "extra_headers", "extra_body", "timeout", "num_retries", "fallbacks"}
)
ODD: Final = [
    *(
        "",
        "hello",
        "auto",
        "none",
        "sandbox/echo",
        "sandbox/tools",
        "' OR 1=1 --",
        "$(id)",
        "{{7*7}}",
        "\r\nXADD a * b c",
    ),
    *("\n\ndata: [DONE]\n\n", "event: x", "\u2028", "\ufffe", "\x7f", "\U0001f600"),
    *("../../etc", "http://169.254.169.254/", "data:image/png;base64,AAAA", "NaN", "0x10", "user", "tool", "x" * 5000),
    *(0, -1, 1, 2**31, 2**63, -(2**63), 2**64 - 1, 1.5, 1e308, -0.0, 1e-320, True, False, None),
]
VALUES = st.recursive(
    st.sampled_from(ODD) | st.text(max_size=20) | st.integers(-(2**70), 2**70) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


@dataclass(frozen=True)
class Case:
    method: str
    path: str
    """With its query."""
    body: bytes | None
    headers: tuple[tuple[str, str], ...]


@st.composite
def bodies(draw: st.DrawFn, path: str) -> bytes:
    """A good body with some fields changed at any depth, and now and then some bytes."""
    body = json.loads(json.dumps(GOOD.get(path, {})))
    for _ in range(draw(st.integers(0, 3))):
        at = body
        while isinstance(at, (dict, list)) and at and draw(st.booleans()):
            below = draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else draw(st.integers(0, len(at) - 1))
            if not isinstance(at[below], (dict, list)):
                break
            at = at[below]
        if isinstance(at, dict):
            at[draw(st.sampled_from([*NAMES, *at]))] = draw(VALUES)
        else:
            at.append(draw(VALUES))
    raw = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        cut = draw(st.integers(0, len(raw)))
        raw = raw[:cut] + draw(st.binary(max_size=4)) + raw[cut + draw(st.integers(0, 3)) :]
    return raw


WORDS = st.sampled_from([str(odd) for odd in ODD if odd is not None]) | st.text(max_size=30)
LATIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    operation: Operation = draw(st.sampled_from([each for each in OPERATIONS if (each.method, each.path) != ENDING]))
    path, query, headers = operation.path, [], []
    for each in operation.parameters:
        if each.where == "path":
            path = path.replace(f"{{{each.name}}}", quote(draw(WORDS), safe="", errors="surrogatepass") or "x")
        elif each.name not in HELD_OPEN and draw(st.booleans()):
            if each.where == "query":
                query.append(f"{each.name}={quote(draw(WORDS), safe='', errors='surrogatepass')}")
            else:
                headers.append((each.name, draw(LATIN).strip()))
    if query:
        path += "?" + "&".join(query)
    takes_body = operation.method in ("POST", "PUT")
    return Case(operation.method, path, draw(bodies(operation.path)) if takes_body else None, tuple(headers))


class Sender:
    """One client for all cases, on a loop of its own."""

    def __init__(self, helix: Helix) -> None:
        self._runner = asyncio.Runner()
        self._helix = helix
        self._session = self._runner.run(self._open())
        self.sent = 0

    async def _open(self) -> aiohttp.ClientSession:
        key = self._helix.facts["api_key"]
        return aiohttp.ClientSession(
            headers={"authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=60),
            requote_redirect_url=False,
        )

    def send(self, together: list[Case]) -> list[tuple[int, bytes]]:
        self.sent += len(together)
        return self._runner.run(self._all(together))

    async def _all(self, together: list[Case]) -> list[tuple[int, bytes]]:
        return await asyncio.gather(*(self._one(case) for case in together))

    async def _one(self, case: Case) -> tuple[int, bytes]:
        url = URL(self._helix.base_url + case.path, encoded=True)
        async with self._session.request(case.method, url, data=case.body, headers=case.headers) as answer:
            return answer.status, await answer.read()

    def close(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()


@pytest.fixture
def sender(helix: Helix) -> Iterator[Sender]:
    made = Sender(helix)
    try:
        yield made
    finally:
        made.send([Case("DELETE", "/v1/routing", None, ())])
        made.close()


@pytest.mark.timeout(3600)
def test_nothing_that_is_sent_breaks_us(sender: Sender) -> None:
    @settings(
        max_examples=max(1, CASES // TOGETHER),
        deadline=None,
        database=None,
        derandomize="HELIX_FUZZ_CASES" not in os.environ,  # the suite says the same twice
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(cases(), min_size=TOGETHER, max_size=TOGETHER))
    def holds(together: list[Case]) -> None:
        for case, (status, body) in zip(together, sender.send(together), strict=True):
            assert status < 500, (case, body[:300])
            if status >= 400 and case.method != "HEAD":
                assert set(json.loads(body)) >= {"error"}, (case, body[:300])

    holds()
    assert sender.sent >= CASES
