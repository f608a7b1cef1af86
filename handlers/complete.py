"""Answer one completion: plan, ask, and tell how it ended. Always exactly one fact, whatever the providers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from events.completions import (
    Complete,
    CompletionCancelled,
    CompletionEnded,
    CompletionFailed,
    CompletionFinished,
    Routing,
    Turn,
    Turns,
)
from events.message import Envelope, sealed_bytes, sealed_text
from handlers.asking import Run, ask_around, note
from handlers.ports import Box, Lead, Listener, Ports, Question, Stop, Transcript
from handlers.rules.caching import digest_of
from handlers.rules.catalogue import Offer
from handlers.rules.errors import error_body
from handlers.rules.failure import CONSEQUENCES
from handlers.rules.rating import Usage, rate
from handlers.rules.routing import Plan
from handlers.rules.turns import new_turns

NOTHING: Final = Usage(0, 0)

NOT_PLANNED: Final = Plan((), "ended before a provider was chosen")

CANCELLED_STATUS: Final = 499
"""What nobody reads: the client has left or cancelled (nginx's number)."""


@dataclass(slots=True)
class Ending:
    """A fact about how a completion ended, with what the waiting client is told beside it."""

    event: CompletionEnded
    answer: bytes = field(repr=False)
    """The sealed answer."""
    retry_after_s: float | None = None
    events: int = 0
    """How many events of the stream have been told."""
    message: bytes = field(default=b"", repr=False)
    """The assistant's message of a finished completion, as JSON."""
    keep: Keep | None = None
    """What is left to do once the end is on the log."""


@dataclass(frozen=True, slots=True)
class Keep:
    """An answer that others may be waiting for."""

    lead: Lead
    content: bytes = field(repr=False)
    ttl_s: int


async def complete(ask: Complete, at: Envelope, ports: Ports, *, listener: Listener, stop: Stop) -> Ending:
    """Carry out one `Complete`; `listener` hears who is asked, and each piece of a streamed answer.

    Cancelled with `stop.by` set it ends with `CompletionCancelled`; cancelled without, it raises CancelledError and
    leaves nothing behind. Raises TryLater when the account's key cannot be had now.
    """
    box = await ports.vault.box(at.account)
    body = box.open("question", at.subject, sealed_bytes(ask.question))
    question = Question(ask.wire, body, ask.stream, ask.include_usage, at.subject, ask.forwarded)
    run = Run(ask, at, ports, box, question, NOT_PLANNED)
    try:
        if stop.by is not None:
            raise asyncio.CancelledError  # it was cancelled before it was taken up
        failed = await ask_around(run, listener)
    except asyncio.CancelledError:
        if stop.by is None:
            raise
        _uncancel()
        note(run, "cancelled")
        answer = _refusal(run, "cancelled", "The request was cancelled.", "server_error", status=409)
        cancelled = CompletionCancelled(**_common(run, answer, CANCELLED_STATUS, _used(run)), by=stop.by)
        return Ending(cancelled, answer)
    if failed is None:
        return _finished(run)
    does = CONSEQUENCES[failed.kind]
    answer = _refusal(run, failed.code or does.code, failed.message, does.type, failed.param, status=does.status)
    event = CompletionFailed(**_common(run, answer, does.status, _used(run)), why=failed.kind)
    return Ending(event, answer, failed.retry_after_s)


def give_up(ask: Complete, at: Envelope, box: Box | None, ports: Ports, *, why: str, attempts: int) -> Ending:
    """The end of a command that killed every worker that took it up, or that could not be carried out at all.

    Without a `box`, when the account's key is destroyed, there is nothing to seal an answer with: it is empty.
    """
    run = Run(ask, at, ports, box or _Nothing(), Question(ask.wire, b"", ask.stream, False), Plan((), why))
    answer = _refusal(run, "parked", f"The request could not be carried out in {attempts} attempts.", "server_error")
    return Ending(CompletionFailed(**_common(run, answer, 500, None), why=why), answer)


class _Nothing:
    """The box of an erased account."""

    def seal(self, kind: str, id: str, content: bytes) -> bytes:
        return b""

    def open(self, kind: str, id: str, sealed: bytes) -> bytes:
        return b""

    def digest(self, content: bytes) -> str:
        return ""


def _finished(run: Run) -> Ending:
    heard = run.heard
    assert heard is not None and heard.answer is not None
    answer = run.box.seal("answer", run.at.subject, heard.answer)
    turns = None
    if run.ask.conversation is not None:
        turns = _turns(run, run.ask.conversation, heard.message or b"{}")
    common = _common(run, answer, 200, _used(run)) | {"question_digest": _digest(run)}
    finished = CompletionFinished(**common, finish_reason=heard.finish_reason, conversation=turns)
    return Ending(finished, answer, events=heard.frames, message=heard.message or b"{}")


def _digest(run: Run) -> str | None:
    """What an equal question of this account is known by."""
    if not run.ports.question_digests:
        return None
    try:
        return run.box.digest(digest_of(run.at.account, run.ask, run.question.body).encode())
    except ValueError:  # no JSON object: a provider has taken it all the same
        return None


def finish_again(
    ask: Complete,
    at: Envelope,
    ports: Ports,
    box: Box,
    question: Question,
    offer: Offer,
    heard: Transcript,
    *,
    saved_nanousd: int,
    reason: str,
) -> Ending:
    """The end of a completion whose answer was there already, as `offer` had once given it: nobody is asked now, and
    nothing is charged."""
    run = Run(ask, at, ports, box, question, Plan((), reason), heard=heard, offer=offer)
    ending = _finished(run)
    free = {"cost_nanousd": 0, "price_as_of": None, "price_version": None}
    ending.event = ending.event.model_copy(update=free | {"cached": True, "saved_nanousd": saved_nanousd})
    return ending


def _used(run: Run) -> Usage | None:
    """What the last call used: the provider's number, or, where it gave none, counted from what was heard.

    None when nothing of it can be charged: no provider was asked, or it failed before its first word.
    """
    heard = run.heard
    if heard is None or run.offer is None:
        return None
    if heard.usage is not None:
        return heard.usage
    if heard.answer is None and heard.frames == 0:
        return None
    return run.ports.providers.count(run.question, "".join(heard.text))


def _common(run: Run, answer: bytes, status: int, used: Usage | None) -> dict[str, Any]:
    """The fields that every ending shares."""
    ended, heard, offer = run.ports.clock(), run.heard, run.offer
    usage = used or NOTHING
    price = offer.price if offer and used else None
    ttft = heard.first_at - run.started if heard and heard.first_at is not None else None
    return {
        "endpoint": run.ask.endpoint,
        "wire": run.ask.wire,
        "api_key_id": run.ask.api_key_id,
        "tier": run.ask.tier,
        "asked_model": run.ask.model,
        "stream": run.ask.stream,
        "accepted_at": run.at.at,
        "provider": offer.provider if offer else None,
        "model": offer.model if offer else None,
        "input_tokens": usage.input,
        "cached_input_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "cost_nanousd": rate(usage, price) if price else 0,
        "price_as_of": price.as_of if price else None,
        "price_version": offer.price_version if offer and price else None,
        "metered": usage.metered,
        "usage_source": usage.source,
        "billable": used is not None,
        "own_key": bool(offer and used and offer.own_key),
        "latency_ms": max(0, round((ended - run.at.at).total_seconds() * 1000)),
        "ttft_ms": None if ttft is None else max(0, round(ttft * 1000)),
        "attempts": tuple(run.attempts),
        "routing": Routing(
            reason=run.plan.reason,
            considered=tuple(target.offer.id for target in run.plan.candidates),
            passed_over=tuple(run.plan.passed_over),
        ),
        "answer": sealed_text(answer),
        "http_status": status,
        "previous": run.ask.previous,
        "kept": run.ask.kept,
    }


def _turns(run: Run, conversation: str, answer: bytes) -> Turns:
    """The new messages of the question and the answer, each sealed under an id of its own."""
    messages: Sequence[dict[str, Any]] = json.loads(run.question.body)["messages"]
    said = [(str(message.get("role")), json.dumps(message).encode()) for message in new_turns(messages)]
    turns = []
    for role, content in (*said, ("assistant", answer)):
        id = run.ports.new_id()
        turns.append(Turn(id=id, role=role, content=sealed_text(run.box.seal("turn", id, content))))
    return Turns(conversation=conversation, turns=tuple(turns))


def _refusal(run: Run, code: str, message: str, kind: str, param: str | None = None, *, status: int = 500) -> bytes:
    """An error in the client's wire format, sealed like any answer."""
    error = error_body(
        run.ask.wire, status=status, message=message, type=kind, code=code, param=param, request=run.at.subject
    )
    return run.box.seal("answer", run.at.subject, error)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
