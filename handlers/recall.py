"""Answer one completion from what is kept of an earlier one, or complete it and have its answer kept.

One rule: an answer is kept only once its end is on the log (`Ending.keep`), so what nobody was charged for is never given
for nothing. Who has not asked for the cache passes through: no digest is made and the port is not called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from events.completions import Complete, CompletionFinished
from events.message import Envelope, sealed_bytes
from handlers.complete import Ending, Keep, complete, finish_again
from handlers.liken import Likeness, liken, remember
from handlers.ports import Box, Lead, Listener, Place, Ports, Question, Recalled, Stop, Transcript
from handlers.rules.caching import SCOPE, Kept, digest_of, given_again, read_kept, to_keep
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage

PATIENCE_SHARE: Final = 0.8
"""Of the time that is left, at most so much is spent on waiting for another who asks the same: some must remain to ask for
oneself."""

REASON: Final = "answered from the response cache"


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question that may be answered from the cache."""

    ask: Complete
    at: Envelope
    ports: Ports
    box: Box
    body: bytes
    ttl_s: int
    place: Place


@dataclass(frozen=True, slots=True)
class _Noting:
    """A lead that also notes, with its answer, what the question means."""

    lead: Lead
    note: Callable[[], None]

    def keep(self, content: bytes, *, ttl_s: int) -> None:
        self.lead.keep(content, ttl_s=ttl_s)
        self.note()

    def leave(self) -> None:
        self.lead.leave()


async def recall(ask: Complete, at: Envelope, ports: Ports, *, listener: Listener, stop: Stop) -> Ending:
    """As `handlers.complete.complete`, which it calls unless an answer is at hand."""
    if ask.cache_ttl_s is None or stop.by is not None:
        return await complete(ask, at, ports, listener=listener, stop=stop)
    box = await ports.vault.box(at.account)
    body = box.open("question", at.subject, sealed_bytes(ask.question))
    try:
        # Under the account's key: on the cache server nobody can try what was asked.
        place = Place(at.account, SCOPE, box.digest(digest_of(at.account, ask, body).encode()))
    except ValueError:  # no JSON object: for whoever is asked to say so
        return await complete(ask, at, ports, listener=listener, stop=stop)
    asked = _Asked(ask, at, ports, box, body, ask.cache_ttl_s, place)
    found: Recalled[tuple[Kept, Offer]] | None = None
    like: Likeness | None = None
    try:
        found = await _find(asked)
        if found.lead and ask.cache_similar and not ask.cache_refresh and ports.nearby:
            like = await liken(ask, at, ports, ports.nearby, box, body)
    except BaseException as broken:
        if found and found.lead:
            found.lead.leave()
        if stop.by is None or not isinstance(broken, asyncio.CancelledError):
            raise
        return await complete(ask, at, ports, listener=listener, stop=stop)  # which asks nobody and tells it as a fact
    if found.value:
        return _given(asked, *found.value, reason=REASON)
    if like and like.found:
        if found.lead:
            found.lead.leave()
        # Not kept under this question: what is like the like need not be like the first.
        return _given(asked, *like.found, reason=f"{REASON}, to a question that means the same ({like.degree:.3f})")
    if found.lead is None:
        return await complete(ask, at, ports, listener=listener, stop=stop)
    return await _complete_and_keep(asked, found.lead, like, listener=listener, stop=stop)


async def _find(asked: _Asked) -> Recalled[tuple[Kept, Offer]]:
    left_s = (asked.ask.deadline - asked.ports.clock()).total_seconds()
    return await asked.ports.answers.find(
        asked.place,
        asked.box,
        partial(read_kept, catalogue=asked.ports.providers.catalogue),
        age_s_max=asked.ttl_s,
        patience_s=max(0.0, left_s * PATIENCE_SHARE),
        anew=asked.ask.cache_refresh,
    )


def _given(asked: _Asked, kept: Kept, offer: Offer, *, reason: str) -> Ending:
    ask, at, ports = asked.ask, asked.at, asked.ports
    heard = Transcript(
        frame=lambda piece: None,
        answer=given_again(ask.wire, kept.answer, request=at.subject, body=asked.body, at=ports.clock()),
        message=kept.message.encode(),
        usage=Usage(
            kept.input_tokens,
            kept.output_tokens,
            cached=kept.cached_input_tokens,
            cache_write=kept.cache_write_tokens,
            source=kept.usage_source,
            metered=kept.metered,
        ),
        finish_reason=kept.finish_reason,
    )
    question = Question(ask.wire, asked.body, ask.stream, ask.include_usage, at.subject)
    saved = kept.cost_nanousd
    return finish_again(ask, at, ports, asked.box, question, offer, heard, saved_nanousd=saved, reason=reason)


async def _complete_and_keep(
    asked: _Asked, lead: Lead, like: Likeness | None, *, listener: Listener, stop: Stop
) -> Ending:
    try:
        ending = await complete(asked.ask, asked.at, asked.ports, listener=listener, stop=stop)
    except BaseException:
        lead.leave()
        raise
    content = None
    if isinstance(ending.event, CompletionFinished):
        answer = asked.box.open("answer", asked.at.subject, ending.answer)
        content = to_keep(ending.event, answer, ending.message)
    if content is None:
        lead.leave()
        return ending
    if like and asked.ports.nearby:
        note = partial(remember, asked.ports.nearby, like, asked.place.digest, asked.box, ttl_s=asked.ttl_s)
        lead = _Noting(lead, note)
    ending.keep = Keep(lead, content, asked.ttl_s)
    return ending
