"""Whatever the order: what is held is what open requests hold, what is spent is what ended ones came to, and a hard limit is
never passed by what could be reserved."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

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

from app.log import Log, keys, purses
from app.log.values import Accepted, Owned, Same, Spent, Unreckoned
from tests.fakes.road import ACCOUNT
from tests.limits.holding import SUBJECT, ask, deliver, finish, request

LIMIT = 1000
SEQUENCES = int(os.environ.get("HELIX_HOLD_SEQUENCES", "40"))
"""Ten thousand by hand, see docs/limits.md."""

Amount = st.integers(0, 450)


class Life(RuleBasedStateMachine):
    """Doors, workers and sweepers on one account, against the scripts of a real server."""

    log: Log
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.reserved: dict[str, int] = {}
        self.owned: dict[str, Owned] = {}
        self.stale: list[Owned] = []
        self.spent = 0
        self.lost = 0
        """Spent, and counted by nobody yet: on the books alone."""
        self.known = False

    @initialize()
    def begin(self) -> None:
        self.loop.run_until_complete(self._empty())

    async def _empty(self) -> None:
        await self.log.command("FLUSHALL")
        await self.log.declare()

    @rule(reserve=st.integers(1, 450))
    def a_door_asks(self, reserve: int) -> None:
        self.number += 1
        said = self.loop.run_until_complete(ask(self.log, self.number, reserve, ever=LIMIT))
        fits = self.spent - self.lost + sum(self.reserved.values()) + reserve <= LIMIT
        if not self.known:
            assert said == Unreckoned(SUBJECT)
        elif fits:
            assert isinstance(said, Accepted)
            self.reserved[request(self.number)] = reserve
        else:
            assert isinstance(said, Spent)

    @rule(reserves=st.lists(st.integers(1, 450), min_size=2, max_size=8))
    def many_doors_ask_at_once(self, reserves: list[int]) -> None:
        first, self.number = self.number + 1, self.number + len(reserves)

        async def all_of_them() -> list[object]:
            asked = (ask(self.log, first + at, reserve, ever=LIMIT) for at, reserve in enumerate(reserves))
            return list(await asyncio.gather(*asked))

        before = self.spent - self.lost + sum(self.reserved.values())
        said = self.loop.run_until_complete(all_of_them())
        assert not any(isinstance(one, Same) for one in said)
        for at, (reserve, one) in enumerate(zip(reserves, said, strict=True)):
            if isinstance(one, Accepted):
                self.reserved[request(first + at)] = reserve
        if len(self.reserved) and any(isinstance(one, Accepted) for one in said):
            assert before <= LIMIT
            assert self.spent - self.lost + sum(self.reserved.values()) <= LIMIT

    @rule()
    def a_worker_takes_what_is_there(self) -> None:
        for one in self.loop.run_until_complete(deliver(self.log)):
            self.owned[one.request] = one

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), cost=Amount)
    def a_request_ends(self, data: st.DataObject, cost: int) -> None:
        of = self._one(data)
        assert self.loop.run_until_complete(finish(self.log, of, cost, of_whom(of)))
        self.stale.append(of)
        del self.owned[of.request]
        del self.reserved[of.request]
        self._pay(cost)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), cost=Amount)
    def an_end_is_told_again_or_by_who_has_lost_it(self, data: st.DataObject, cost: int) -> None:
        of = data.draw(st.sampled_from(self.stale))
        assert self.loop.run_until_complete(finish(self.log, of, cost, of_whom(of))) is None

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def a_worker_dies_and_another_takes_over(self, data: st.DataObject) -> None:
        of = self._one(data)
        words = ("XCLAIM", keys.commands(0), keys.COMPLETIONS, consumer(of.attempt + 1), 0, of.entry)
        self.loop.run_until_complete(self._do(*words))
        self.stale.append(of)
        self.owned[of.request] = replace(of, attempt=of.attempt + 1)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), cost=Amount)
    def a_worker_of_an_older_release_ends_it_unsettled(self, data: st.DataObject, cost: int) -> None:
        of = self._one(data)
        self.loop.run_until_complete(self._do("XACK", keys.commands(0), keys.COMPLETIONS, of.entry))
        self.loop.run_until_complete(self._do("XDEL", keys.commands(0), of.entry))
        del self.owned[of.request]
        self.spent += cost
        self.lost += cost
        self.stale.append(of)
        # What it holds stays until the sweeper comes.

    @rule()
    def the_sweeper_comes(self) -> None:
        async def sweep() -> int:
            return sum([await purses.release(self.log, hold) for hold in await purses.holds(self.log, 0)])

        over = [each for each in self.reserved if each not in self.owned and self._off_the_log(each)]
        assert self.loop.run_until_complete(sweep()) == len(over)
        for each in over:
            del self.reserved[each]

    @rule()
    def it_is_reckoned_from_the_books(self) -> None:
        async def reckon() -> None:
            seen = await purses.count(self.log, ACCOUNT, SUBJECT)
            wrong = self.spent - seen.ever
            assert await purses.correct(self.log, ACCOUNT, SUBJECT, seen, wrong, wrong, wrong)
            assert not await purses.correct(self.log, ACCOUNT, SUBJECT, seen, wrong, wrong, wrong), (
                "or it would count twice"
            )

        self.loop.run_until_complete(reckon())
        self.lost, self.known = 0, True

    @rule()
    def a_budget_is_removed_and_set_again(self) -> None:
        self.loop.run_until_complete(purses.forget(self.log, ACCOUNT, SUBJECT))
        self.lost, self.known = self.spent, False

    @invariant()
    def the_server_agrees(self) -> None:
        held = {hold.request: hold.nanousd for hold in self.loop.run_until_complete(purses.holds(self.log, 0))}
        assert held == self.reserved
        seen = self.loop.run_until_complete(purses.count(self.log, ACCOUNT, SUBJECT))
        assert seen.held == sum(self.reserved.values())
        assert seen.known == self.known
        if self.known:
            assert seen.ever == seen.in_day == seen.in_month == self.spent - self.lost

    def _pay(self, cost: int) -> None:
        self.spent += cost
        if not self.known:
            self.lost += cost

    def _one(self, data: st.DataObject) -> Owned:
        return self.owned[data.draw(st.sampled_from(sorted(self.owned)))]

    def _off_the_log(self, of: str) -> bool:
        return any(one.request == of for one in self.stale)

    async def _do(self, *words: str | int) -> None:
        await self.log.command(*words)


def consumer(attempt: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[(attempt - 1) % 26] * attempt


def of_whom(of: Owned) -> str:
    return consumer(of.attempt)


def test_no_order_of_events_breaks_the_count(log_url: str) -> None:
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
