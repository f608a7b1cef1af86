"""Ask one provider after another until one has answered or nothing is left to try.

One rule: each step is decided anew by the rules, with what is known of the providers at that moment; here it is only done.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from events.completions import Attempt, CallOutcome, Complete
from events.message import Envelope
from handlers.ports import Box, Listener, Ports, ProviderFailed, Question, Transcript
from handlers.rules.catalogue import Offer
from handlers.rules.circuit import provider_key
from handlers.rules.failure import CONSEQUENCES, FailureKind, after
from handlers.rules.needs import NONE, Needs, needs_of
from handlers.rules.routing import UNTRIED, Plan, Target, Tried, Wanted, route
from handlers.rules.standing import Call

SPREAD: Final = 0.25
"""Who waited for the same moment does not ask all at the same moment: up to so much longer."""

STORM: Final = 2
"""A provider that has told us so often in a row to wait is not asked again by the same request."""


@dataclass(slots=True)
class Run:
    """One command being carried out."""

    ask: Complete
    at: Envelope
    ports: Ports
    box: Box
    question: Question
    plan: Plan
    """The first plan of this request; what came after a failure shows in `attempts`."""
    attempts: list[Attempt] = field(default_factory=list)
    heard: Transcript | None = None
    offer: Offer | None = None
    began: datetime | None = None
    """When the call now under way began; None between calls."""
    started: float = 0.0
    """time.monotonic() of the last call."""


async def ask_around(run: Run, listener: Listener) -> ProviderFailed | None:
    """Ask whom the plan says → the last failure, None when answered."""
    wanted, chance, tried = _wanted(run), run.ports.chance(), UNTRIED
    run.plan = plan = _plan(run, wanted, tried, chance)
    waited = False
    while True:
        seconds_left = (run.ask.deadline - run.ports.clock()).total_seconds()
        if seconds_left <= 0:
            return ProviderFailed("timeout", "The request's deadline passed before a provider could answer.")
        if not plan.candidates:
            if plan.free_in_s is None or not plan.worth_waiting or waited or plan.free_in_s >= seconds_left:
                return _nobody(run, plan)
            waited = True
            await asyncio.sleep(plan.free_in_s * (1 + SPREAD * chance))
            plan = _plan(run, wanted, tried, chance)
            continue
        target = plan.candidates[0]
        failed = await _call(run, target, listener, seconds_left)
        if failed is None:
            return None
        assert run.heard is not None
        tried = _with(tried, target, failed.kind, wanted)
        plan = _plan(run, wanted, tried, chance)
        step = after(
            failed.kind,
            attempts=len(run.attempts),
            others=len(plan.candidates),
            resting=_known_down(run, target),
            text_seen=run.heard.frames > 0,
            retry_after_s=failed.retry_after_s,
            seconds_left=seconds_left - (time.monotonic() - run.started),
            chance=run.ports.chance(),
        )
        if step.pause_s is None:
            return failed
        if not step.advance:
            plan = replace(plan, candidates=(target,))
        await asyncio.sleep(step.pause_s)


def note(run: Run, outcome: CallOutcome, failed: ProviderFailed | None = None) -> None:
    """Write the call under way, if there is one, into the list of attempts."""
    if run.offer is None or run.began is None:
        return
    run.attempts.append(
        Attempt(
            provider=run.offer.provider,
            model=run.offer.model,
            started_at=run.began,
            ended_at=run.ports.clock(),
            outcome=outcome,
            why=failed.kind if failed else None,
            status=failed.status if failed else None,
        )
    )
    run.began = None


async def _call(run: Run, target: Target, listener: Listener, deadline_s: float) -> ProviderFailed | None:
    """One call → how it failed; None when answered."""
    run.offer, standing = target.offer, run.ports.standing
    run.heard = heard = Transcript(listener.say)
    probed = standing.began(target.offer, target.key)
    listener.asked(target.offer, len(run.attempts) + 1)
    run.started, run.began = time.monotonic(), run.ports.clock()
    failure: ProviderFailed | None = None
    try:
        await run.ports.providers.ask(target.offer, run.question, heard, deadline_s=deadline_s, key=target.key)
    except ProviderFailed as failed:
        failure = failed
    except BaseException:  # cancelled, or a fault of ours: it says nothing about the provider
        standing.left(probed)
        raise
    note(run, "failed" if failure else "answered", failure)
    if failure and failure.kind == "unsayable":
        standing.left(probed)
    else:
        standing.ended(_said(run, target, heard, failure, probed))
    return failure


def _said(run: Run, target: Target, heard: Transcript, failed: ProviderFailed | None, probed: tuple[str, ...]) -> Call:
    told_when = failed is not None and failed.kind in ("rate_limited", "overloaded")
    return Call(
        offer=target.offer,
        key=target.key,
        failed=failed.kind if failed else None,
        took_s=time.monotonic() - run.started,
        ttft_ms=None if heard.first_at is None else (heard.first_at - run.started) * 1000,
        output_tokens=heard.usage.output if heard.usage else None,
        rests_s=(failed.retry_after_s if failed and told_when else heard.limited_s) or None,
        probed=probed,
    )


def _wanted(run: Run) -> Wanted:
    ask = run.ask
    return Wanted(ask.model, ask.wire, ask.tier, ask.optimize, ask.policy, _needs(run))


def _needs(run: Run) -> Needs:
    catalogue, policy = run.ports.providers.catalogue, run.ask.policy
    names = (policy and policy.chain) or (run.ask.model,)
    if len(names) == 1 and len(catalogue.find(names[0])) < 2:
        return NONE  # nobody to choose from: the question need not be read
    try:
        return needs_of(run.question.wire, run.question.body)
    except ValueError:
        return NONE  # no JSON object: for whoever is asked to say so


def _plan(run: Run, wanted: Wanted, tried: Tried, chance: float) -> Plan:
    picture = run.ports.standing.picture()
    return route(run.ports.providers.catalogue, wanted, picture, tried=tried, chance=chance)


def _with(tried: Tried, target: Target, kind: FailureKind, wanted: Wanted) -> Tried:
    """What may not be asked any more after this failure."""
    does, offer = CONSEQUENCES[kind], target.offer
    match does.blames:
        case "key":
            tried = replace(tried, keys=tried.keys | {provider_key(offer.provider, target.key)})
        case "limit":
            tried = replace(tried, keys_of_offers=tried.keys_of_offers | {(offer.id, target.key)})
        case _:
            tried = replace(tried, offers=tried.offers | {offer.id})
    if does.other == "larger":
        return replace(tried, larger_than=offer.context_window or wanted.needs.input_tokens)
    if does.other == "named":
        return replace(tried, behind=wanted.chain.index(target.name) if target.name in wanted.chain else 0)
    return tried


def _known_down(run: Run, target: Target) -> bool:
    """Whether one more call to it would only be one more that fails."""
    resting = run.ports.standing.picture().resting(target.offer, target.key)
    return resting is not None and (resting[1].probes or resting[1].openings > STORM)


def _nobody(run: Run, plan: Plan) -> ProviderFailed:
    model = run.ask.model[:100]
    match plan.nobody:
        case "not_allowed":
            return ProviderFailed("not_allowed", f"No provider that this account may ask offers the model {model!r}.")
        case "rate_limited" | "cooling_down" as kind:
            message = f"Everyone who offers the model {model!r} rests after failures; try again in a moment."
            return ProviderFailed(kind, message, retry_after_s=plan.free_in_s)
        case _:
            return ProviderFailed("not_found", f"Nobody offers the model {model!r}.")
