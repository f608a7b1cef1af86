"""Answer one completion from what is kept of an earlier one, or complete it and have its answer kept.

One rule: an answer is kept only once its end is on the log (`Ending.keep`), so what nobody was charged for is never given
for nothing. Who has not asked for the cache passes through: no digest is made and the port is not called.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from events.completions import Complete, CompletionFinished
from events.message import Envelope, sealed_bytes
from handlers.complete import Ending, Keep, complete, finish_again
from handlers.ports import Box, Lead, Listener, Place, Ports, Question, Recalled, Stop, Transcript
from handlers.rules.caching import SCOPE, Kept, digest_of, given_again, read_kept, to_keep
from handlers.rules.catalogue import Offer
from handlers.rules.rating import Usage

PATIENCE_SHARE: Final = 0.8
"""Of the time that is left, at most so much is spent on waiting for another who asks the same: some must remain to ask for
oneself."""


async def recall(ask: Complete, at: Envelope, ports: Ports, *, listener: Listener, stop: Stop) -> Ending:
    """As `handlers.complete.complete`, which it calls unless an answer is at hand."""
    if ask.cache_ttl_s is None or stop.by is not None:
        return await complete(ask, at, ports, listener=listener, stop=stop)
    box = await ports.vault.box(at.account)
    body = box.open("question", at.subject, sealed_bytes(ask.question))
    try:
        found = await _find(ask, at, ports, box, body, ask.cache_ttl_s)
    except asyncio.CancelledError:
        if stop.by is None:
            raise
        return await complete(ask, at, ports, listener=listener, stop=stop)  # which asks nobody and tells it as a fact
    if found.value is not None:
        return _given(ask, at, ports, box, body, *found.value)
    return await _complete_and_keep(ask, at, ports, box, found.lead, ask.cache_ttl_s, listener=listener, stop=stop)


async def _find(
    ask: Complete, at: Envelope, ports: Ports, box: Box, body: bytes, ttl_s: int
) -> Recalled[tuple[Kept, Offer]]:
    try:
        place = Place(at.account, SCOPE, digest_of(at.account, ask, body))
    except ValueError:  # no JSON object: for whoever is asked to say so
        return Recalled(None, None)
    return await ports.answers.find(
        place,
        box,
        partial(read_kept, catalogue=ports.providers.catalogue),
        age_s_max=ttl_s,
        patience_s=max(0.0, (ask.deadline - ports.clock()).total_seconds() * PATIENCE_SHARE),
        anew=ask.cache_refresh,
    )


def _given(ask: Complete, at: Envelope, ports: Ports, box: Box, body: bytes, kept: Kept, offer: Offer) -> Ending:
    heard = Transcript(
        frame=lambda piece: None,
        answer=given_again(ask.wire, kept.answer, request=at.subject, body=body, at=ports.clock()),
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
    question = Question(ask.wire, body, ask.stream, ask.include_usage, at.subject)
    return finish_again(ask, at, ports, box, question, offer, heard, saved_nanousd=kept.cost_nanousd)


async def _complete_and_keep(
    ask: Complete,
    at: Envelope,
    ports: Ports,
    box: Box,
    lead: Lead | None,
    ttl_s: int,
    *,
    listener: Listener,
    stop: Stop,
) -> Ending:
    try:
        ending = await complete(ask, at, ports, listener=listener, stop=stop)
    except BaseException:
        if lead:
            lead.leave()
        raise
    if lead is None:
        return ending
    content = None
    if isinstance(ending.event, CompletionFinished):
        answer = box.open("answer", at.subject, ending.answer)
        content = to_keep(ending.event, answer, ending.message)
    if content is None:
        lead.leave()
    else:
        ending.keep = Keep(lead, content, ttl_s)
    return ending
