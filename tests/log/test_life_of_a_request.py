"""Whatever the order (A30): what was accepted is on the log until it ends, ends once, by the one who owns it, and what was
asked twice is one request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.log import Log, keys
from app.log.values import Accepted, Limits, Mismatch, Owned, Repeat, Same, TooMany
from events.catalog import read
from tests.fakes.road import ACCOUNT, command
from tests.limits.holding import deliver, finish, request

OPEN_MAX = 4
SEQUENCES = int(os.environ.get("HELIX_REQUEST_SEQUENCES", "40"))
"""Ten thousand by hand, see docs/faults.md."""

Said = TypeVar("Said")
Token = tuple[Owned, str]
"""What a worker holds of a command, and the worker's name."""

workers = st.sampled_from(("a", "b", "c"))


class Life(RuleBasedStateMachine):
    """Doors, workers and an operator, against the scripts of a real server."""

    log: Log
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.asked: dict[str, tuple[str, str]] = {}
        """Idempotency key → its body and its request."""
        self.open: dict[str, str | None] = {}
        """Request → who has cancelled it."""
        self.ended: set[str] = set()
        self.owned: dict[str, Token] = {}
        self.left: dict[str, Token] = {}
        """Given back: pending, and in nobody's hands."""
        self.stale: list[Token] = []

    def do(self, what: Awaitable[Said]) -> Said:
        async def wait() -> Said:
            return await what

        return self.loop.run_until_complete(wait())

    @initialize()
    def begin(self) -> None:
        self.do(self.log.command("FLUSHALL"))
        self.do(self.log.declare())

    # The doors.

    @rule(key=st.sampled_from(("", "x", "y", "z")), body=st.sampled_from(("one", "other")))
    def a_door_asks(self, key: str, body: str) -> None:
        self.number += 1
        id = request(self.number)
        repeat = Repeat("key", idempotency_digest=key or None, body_digest=body)
        said = self.do(self.log.admit(command(request=id), Limits(open_max=OPEN_MAX), repeat, {"model": "gpt"}))
        if key in self.asked:
            earlier, same = self.asked[key]
            assert said == (Same(same) if earlier == body else Mismatch())
        elif len(self.open) >= OPEN_MAX:
            assert said == TooMany(len(self.open))
        else:
            assert isinstance(said, Accepted)
            self.open[id] = None
            if key:
                self.asked[key] = body, id

    @precondition(lambda self: self.open or self.ended)
    @rule(data=st.data())
    def a_client_cancels(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted({*self.open, *self.ended})))
        state = self.do(self.log.cancel(ACCOUNT, id, "client"))
        if id in self.open:
            assert state == "queued"
            self.open[id] = "client"
        else:
            assert state == "failed"

    # The workers.

    @rule(worker=workers)
    def a_worker_reads(self, worker: str) -> None:
        for of in self.do(deliver(self.log, worker)):
            assert of.request in self.open
            assert of.request not in self.owned
            self.owned[of.request] = of, worker

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def a_worker_begins(self, data: st.DataObject) -> None:
        of, _ = self._one(data)
        told = self.do(self.log.begin(of))
        assert (told.decode() if told else None) == self.open[of.request]

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def a_worker_ends_one(self, data: st.DataObject) -> None:
        of, worker = self._one(data)
        assert self.do(finish(self.log, of, 0, worker)) is not None
        self.stale.append(self.owned.pop(of.request))
        del self.open[of.request]
        self.ended.add(of.request)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def who_owns_it_no_more_ends_nothing(self, data: st.DataObject) -> None:
        of, worker = data.draw(st.sampled_from(self.stale))
        assert self.do(finish(self.log, of, 0, worker)) is None

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), fresh=st.booleans())
    def a_worker_gives_one_back(self, data: st.DataObject, fresh: bool) -> None:
        of, worker = self._one(data)
        count = of.attempt - 1 if fresh else of.attempt
        self.do(self.log.give_back(0, worker, [(of.entry, of.attempt, count)], idle_ms=60_000))
        del self.owned[of.request]
        self.left[of.request] = replace(of, attempt=count), worker

    @rule(worker=workers)
    def a_worker_takes_over_what_is_pending(self, worker: str) -> None:
        """Everybody else is dead, or frozen and does not know."""
        pending = {**self.owned, **self.left}
        taken = self.do(self.log.reclaim(0, worker, idle_ms=0, most=1000))
        assert (taken.gone, len(taken.entries)) == (0, len(pending))
        for entry, attempt, words in taken.entries:
            id = read(words[b"__data__"]).subject
            before, _ = pending[id]
            assert (entry, attempt) == (before.entry, before.attempt + 1)
            if id in self.owned and self.owned[id][1] != worker:  # its own former life is over, and tells nothing
                self.stale.append(self.owned[id])
            self.owned[id] = replace(before, attempt=attempt), worker
        self.left.clear()

    # The operator, and the server.

    @rule()
    def somebody_destroys_the_group(self) -> None:
        """What was pending is read anew, from its first attempt on; who had it does not live to tell."""
        self.do(self.log.command("XGROUP", "DESTROY", keys.commands(0), keys.COMPLETIONS))
        self.do(self.log.declare())
        self.owned.clear()
        self.left.clear()
        self.stale = [(of, worker) for of, worker in self.stale if of.request in self.ended]

    @rule()
    def dead_consumers_are_forgotten(self) -> None:
        self.do(self.log.dismiss(0, idle_ms=0))

    # What holds.

    @invariant()
    def each_is_on_the_log_or_has_one_end(self) -> None:
        commands = self.do(self.log.command("XRANGE", keys.commands(0), "-", "+"))
        assert sorted(self._subject(words) for _, words in commands) == sorted(self.open)
        events = self.do(self.log.command("XRANGE", keys.events(0), "-", "+"))
        assert sorted(self._subject(words) for _, words in events) == sorted(self.ended)

    @invariant()
    def what_is_open_is_counted(self) -> None:
        assert self.do(self.log.command("ZCARD", keys.open_requests(0, ACCOUNT))) == len(self.open)
        standing = self.do(self.log.open_of(ACCOUNT))
        assert {one.request for one in standing} == set(self.open)
        held = {*self.owned, *self.left}
        assert {one.request for one in standing if one.state == "running"} == held

    def teardown(self) -> None:
        """Whatever has happened, the next worker brings everything to its end."""
        if not hasattr(self, "loop") or not (self.open or self.ended):
            return
        self.a_worker_takes_over_what_is_pending("d")
        self.a_worker_reads("d")
        for id, (of, worker) in list(self.owned.items()):
            assert self.do(finish(self.log, of, 0, worker)) is not None, id
            self.ended.add(id)
            del self.open[id]
        assert not self.open
        self.each_is_on_the_log_or_has_one_end()

    def _one(self, data: st.DataObject) -> Token:
        return self.owned[data.draw(st.sampled_from(sorted(self.owned)))]

    @staticmethod
    def _subject(words: list[bytes]) -> str:
        return read(dict(zip(words[::2], words[1::2], strict=True))[b"__data__"]).subject


def test_no_order_of_events_loses_a_request_or_ends_it_twice(log_url: str) -> None:
    loop = asyncio.new_event_loop()
    log = loop.run_until_complete(Log(log_url, name="tests").open())
    try:
        machine = type("Life", (Life,), {"log": log, "loop": loop})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=SEQUENCES,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(log.close())
        loop.close()
