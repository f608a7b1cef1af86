"""Events of a busy year, made up by a seed: as workers would have written them, faster than any worker could.

One rule: every one is what `events.catalog` reads today; only its content is noise, as sealed content looks from outside.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from events.completions import Attempt, CompletionCancelled, CompletionFailed, CompletionFinished, Routing
from events.message import Envelope, sealed_text

ACCOUNTS: Final = 1000
MODELS: Final = ("small", "medium", "large", "claude-far", "local/tiny")
ENDS: Final = {"finished": 92, "failed": 5, "cancelled": 3}
"""Out of a hundred."""

IN_CONVERSATION: Final = 0.4
ANSWER_BYTES: Final = (80, 900)
"""Sealed, from a word to a long paragraph."""

Document = dict[str, Any]  # Any: JSON on its way out


def made_up(seed: int, count: int, since: datetime, until: datetime) -> Iterator[tuple[str, bytes]]:
    """(entry id, raw envelope) for each event, evenly over a time of aware bounds; ids grow by a millisecond at least."""
    dice = random.Random(seed)  # noqa: S311  # for repeating, not for secrets
    accounts = [_uuid(dice, dice.getrandbits(40)) for _ in range(ACCOUNTS)]
    shapes = {name: orjson.loads(envelope.encode()) for name, envelope in _shapes().items()}
    step_ms = (until - since) / timedelta(milliseconds=1) / count
    first_ms, last_ms = since.timestamp() * 1000, 0
    names, weights = list(ENDS), list(ENDS.values())
    for number in range(count):
        last_ms = max(int(first_ms + number * step_ms), last_ms + 1)
        kind = dice.choices(names, weights)[0]
        said = _one(shapes[kind], dice, dice.choice(accounts), last_ms)
        if kind == "finished" and dice.random() < IN_CONVERSATION:
            said["body"]["conversation"] = _turns(said["account"], dice)
        yield f"{last_ms}-0", orjson.dumps(said)


def _one(shape: Document, dice: random.Random, account: str, at_ms: int) -> Document:
    said, body = dict(shape), dict(shape["body"])
    latency_ms = dice.randint(40, 30_000)
    at, accepted_at, begun_at = (_time(at_ms - ago) for ago in (0, latency_ms, latency_ms - 5))
    request = f"req_{at_ms:012x}{dice.getrandbits(80):020x}"
    said["id"], said["cause"] = _uuid(dice, at_ms), _uuid(dice, at_ms - latency_ms)
    said.update(at=at, account=account, subject=request, correlation=said["cause"], body=body)
    tokens_in, tokens_out = dice.randint(5, 8000), dice.randint(0, 2000)
    model = dice.choice(MODELS)
    body.update(
        api_key_id=account[:-4] + "00aa",
        asked_model=model,
        model=model,
        stream=dice.random() < 0.5,
        accepted_at=accepted_at,
        input_tokens=tokens_in,
        cached_input_tokens=tokens_in // 3,
        output_tokens=tokens_out,
        cost_nanousd=(tokens_in * 150 + tokens_out * 600) * body["billable"],
        latency_ms=latency_ms,
        answer=_sealed(dice),
        attempts=[{**body["attempts"][0], "model": model, "started_at": begun_at, "ended_at": at}],
    )
    return said


def _turns(account: str, dice: random.Random) -> Document:
    turns = [{"id": _uuid(dice), "role": role, "content": _sealed(dice)} for role in ("user", "assistant")]
    return {"conversation": f"conv_{account[:8]}_{dice.randint(0, 30)}", "turns": turns}


def _shapes() -> dict[str, Envelope]:
    """One whole event of each kind."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    answered = Attempt(provider="made-up", model="small", started_at=noon, ended_at=noon, outcome="answered")
    finished = CompletionFinished(
        endpoint="/v1/chat/completions",
        wire="openai",
        api_key_id="",
        tier="pro",
        asked_model="small",
        stream=True,
        accepted_at=noon,
        provider="made-up",
        model="small",
        input_tokens=0,
        cached_input_tokens=0,
        output_tokens=0,
        cost_nanousd=0,
        price_as_of="2026-01-01",
        usage_source="provider",
        billable=True,
        latency_ms=0,
        ttft_ms=30,
        attempts=(answered,),
        routing=Routing(reason="only", considered=("made-up/small",)),
        answer="",
        http_status=200,
        finish_reason="stop",
    )
    shared = finished.model_dump(exclude={"finish_reason", "conversation"})
    broken = answered.model_copy(update={"outcome": "failed", "why": "overloaded", "status": 503})
    failed = CompletionFailed.model_validate(
        shared | {"why": "overloaded", "http_status": 503, "billable": False, "attempts": (broken,)}
    )
    cancelled = CompletionCancelled.model_validate(shared | {"by": "client", "http_status": 499})
    said = {"finished": finished, "failed": failed, "cancelled": cancelled}
    return {name: Envelope.begin(one, id="", at=noon, account="", subject="") for name, one in said.items()}


def _sealed(dice: random.Random) -> str:
    return sealed_text(dice.randbytes(dice.randint(*ANSWER_BYTES)))


def _uuid(dice: random.Random, at_ms: int = 0) -> str:
    """Of version 7: in the order of time, as `app.ids` makes them."""
    return str(UUID(int=at_ms << 80 | 0x7 << 76 | dice.getrandbits(12) << 64 | 1 << 63 | dice.getrandbits(62)))


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()
