"""What the sandbox's `faulty` model is told to do, by directives in the last user message.

Directives stand in square brackets, several in one bracket or in several: `[status=429 retry_after=1] [delay_ms=500]`.

    status=N          answer with this HTTP status and an error
    retry_after=S     send this Retry-After with the status
    code=WORD         the error's code, such as context_length_exceeded
    fail_times=N      do `status` (500 where it is not given) only the first N times that this prompt comes, then answer
    delay_ms=N        wait before the first byte
    chunk_delay_ms=N  wait before each word of a stream
    cut_after=N       break the connection after N words
    silence_after=N   say nothing more after N words, and keep the connection open
    error_after=N     send an error inside the stream after N words
    garbage           send what is no JSON
    no_usage          leave the usage out
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PROMPTS_REMEMBERED_MAX = 10_000
"""Of prompts with `fail_times`; the oldest is forgotten first."""
_NUMBER_MAX = 10_000_000
"""Nearly three hours in milliseconds; it keeps `inf` and `nan` out too."""

_NUMBERS = frozenset(
    ["status", "retry_after", "fail_times", "delay_ms", "chunk_delay_ms", "cut_after", "silence_after", "error_after"]
)
_FLAGS = frozenset({"garbage", "no_usage"})
_BRACKET = re.compile(r"\[([a-z_]+(?:=[\w.-]+)?(?:\s+[a-z_]+(?:=[\w.-]+)?)*)\]\s?")


class Refused(Exception):
    """Answered with this status and an error in OpenAI's shape."""

    def __init__(self, status: int, message: str, code: str | None = None, retry_after: str | None = None) -> None:
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Faults:
    """What `faulty` was told to do."""

    numbers: dict[str, float]
    flags: frozenset[str]
    code: str | None

    def number(self, name: str) -> float | None:
        return self.numbers.get(name)

    def seconds(self, name: str) -> float:
        return self.numbers.get(name, 0) / 1000


NO_FAULTS = Faults({}, frozenset(), None)


def read_directives(prompt: str) -> tuple[Faults, str]:
    """The directives of a prompt, and what stands beside them. A bracket with an unknown word is ordinary text."""
    numbers: dict[str, float] = {}
    flags: set[str] = set()
    code: str | None = None

    def take(found: re.Match[str]) -> str:
        nonlocal code
        words = [word.partition("=") for word in found[1].split()]
        try:
            read = {name: _number(name, value) for name, _, value in words if name in _NUMBERS}
        except ValueError:
            return found[0]
        if any(name not in _NUMBERS and name not in _FLAGS and name != "code" for name, _, _ in words):
            return found[0]
        numbers.update(read)
        flags.update(name for name, _, _ in words if name in _FLAGS)
        code = next((value for name, _, value in words if name == "code"), code)
        return ""

    left = _BRACKET.sub(take, prompt)
    return Faults(numbers, frozenset(flags), code), left


def _number(name: str, value: str) -> float:
    number = float(value)
    if not 0 <= number <= _NUMBER_MAX or (name == "status" and not 200 <= number <= 599):
        raise ValueError(name)
    return number


def refuse(faults: Faults, prompt: str, failed: dict[str, int]) -> None:
    """Raise Refused where the directives say so. `failed` remembers how often each `fail_times` prompt has failed."""
    status, times = faults.number("status"), faults.number("fail_times")
    if status is None and times is None:
        return
    if times is not None:
        so_far = failed.pop(prompt, 0)
        if so_far >= times:
            return
        if len(failed) >= _PROMPTS_REMEMBERED_MAX:
            failed.pop(next(iter(failed)))
        failed[prompt] = so_far + 1
    after = faults.number("retry_after")
    raise Refused(
        int(status or 500), "The sandbox was asked to fail.", faults.code, None if after is None else f"{after:g}"
    )
