"""What the last frame of a request tells whoever waits for it, beside the answer itself: who answered, how, for how much.

Written by the worker, and made again from the event when the frame is gone.
"""

from __future__ import annotations

from typing import TypedDict

from events.completions import CompletionEnded


class LastWord(TypedDict, total=False):
    """The meta of the last frame, as JSON has it. What an older worker has not said is missing."""

    status: int
    outcome: str
    provider: str | None
    model: str | None
    attempts: int
    cost_nanousd: int
    routing: dict[str, object] | None
    cached: bool
    saved_nanousd: int
    retry_after_s: float | None
    events: int
    """How many events of the stream went out before the closing one."""


def last_word(end: CompletionEnded, *, retry_after_s: float | None = None, events: int = 0) -> LastWord:
    """The meta of this end's last frame."""
    return {
        "status": end.http_status,
        "outcome": end.outcome,
        "provider": end.provider,
        "model": end.model,
        "attempts": len(end.attempts),
        "cost_nanousd": end.cost_nanousd,
        "routing": end.routing.model_dump() if end.routing else None,
        "cached": end.cached,
        "saved_nanousd": end.saved_nanousd,
        "retry_after_s": retry_after_s,
        "events": events,
    }
