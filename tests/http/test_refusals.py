"""What the official OpenAI SDK makes of our refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from app.http.refusals import Refused, headers, retry_after
from tests.http.serving import Routes, serving, shell


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(shell(Routes())) as port:
        yield port


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (402, openai.APIStatusError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_the_sdk_raises_its_own_right_exception(
    port: int, status: int, raised: type[openai.APIStatusError]
) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1/refuse/{status}", api_key="none", max_retries=0
    ) as client:
        with pytest.raises(raised) as caught:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert caught.value.status_code == status
    assert "No." in caught.value.message
    assert (caught.value.request_id or "").startswith("req_")


def test_a_retry_that_cannot_mend_is_declined() -> None:
    assert headers(Refused(402, None, ""), "r")["x-should-retry"] == "false"
    assert headers(Refused(429, "insufficient_quota", ""), "r")["x-should-retry"] == "false"
    assert "x-should-retry" not in headers(Refused(429, None, ""), "r")


def test_a_busy_answer_says_when_in_both_spellings() -> None:
    assert headers(Refused(429, None, "", headers=retry_after(1.2)), "r").items() >= {
        ("retry-after", "2"),
        ("retry-after-ms", "1200"),
    }
    assert headers(Refused(503, None, "", headers={"Retry-After": "7"}), "r")["retry-after-ms"] == "7000"
    assert headers(Refused(503, None, ""), "r")["retry-after"] == "1"


@pytest.mark.parametrize(
    ("status", "code", "type", "shown"),
    [
        (401, None, "invalid_request_error", "invalid_api_key"),
        (404, "model_not_found", "invalid_request_error", "model_not_found"),
        (429, None, "requests", "rate_limit_exceeded"),
        (429, "insufficient_quota", "insufficient_quota", "insufficient_quota"),
        (503, None, "server_error", None),
    ],
)
def test_types_and_codes_are_openai_s(status: int, code: str | None, type: str, shown: str | None) -> None:
    refused = Refused(status, code, "")
    assert (refused.type, refused.code) == (type, shown)
