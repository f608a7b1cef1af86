"""What is spent is what the books say, wherever a part of them stands."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from app.database import Pool, borrowed
from app.limits.alerts import tell_reached
from app.limits.budgets import credit, set_budget
from app.limits.reckoning import Reckoner
from app.limits.sweeping import Sweeper
from app.log import Log, keys, purses
from app.log.values import Accepted, DayOver, Limits, Mismatch, Repeat, Unreckoned, pace
from app.postgres import engine
from events.catalog import read
from events.limits import BudgetReached
from events.message import Envelope
from handlers.rules.budgets import Budget, Spent
from projections.projection import Seen
from projections.usage import USAGE
from tests.fakes.road import ACCOUNT, command
from tests.limits.holding import SUBJECT, ask, deliver, finish, request
from tests.projections import KEY, finished

NOW = datetime.now(UTC)


async def on_the_log(log: Log, *said: Envelope) -> list[str]:
    return [await log.publish(one) for one in said]


async def in_the_books(database_url: str, log: Log, upto: str) -> None:
    """The projection has read up to here."""
    async with engine(database_url) as database, database.begin() as connection:
        entries = [one for one in await log.read_events(0, "0-0", count=100) if one[0] <= upto]
        await USAGE.apply(connection, [Seen(0, entry, raw) for entry, raw in entries])
        await connection.execute(text("DELETE FROM checkpoints"))
        await connection.execute(text("INSERT INTO checkpoints VALUES ('usage', 0, :upto)"), {"upto": upto})


async def set_for(pool: Pool, log: Log, *, limit: int = 1000, hard: bool = True) -> Budget:
    async def forget(account: str, subject: str) -> None:
        await purses.forget(log, account, subject)

    async with borrowed(pool) as connection:
        return await set_budget(
            connection, ACCOUNT, SUBJECT, "day", hard=hard, limit_nanousd=limit, by="operator", forget=forget
        )


def spending(*costs: int, at: datetime = NOW, key: str = KEY) -> list[Envelope]:
    return [finished(ACCOUNT, at=at, cost_nanousd=cost, api_key_id=key) for cost in costs]


async def test_nothing_is_let_in_on_a_purse_that_was_not_reckoned(log: Log, pool: Pool) -> None:
    assert await ask(log, 1, day=1000) == Unreckoned(SUBJECT)
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    assert isinstance(await ask(log, 1, day=1000), Accepted)


async def test_what_ended_behind_the_books_is_counted_from_the_log(log: Log, pool: Pool, database_url: str) -> None:
    _, second, _ = await on_the_log(log, *spending(1, 20, 300))
    await in_the_books(database_url, log, second)
    assert await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT) == Spent(321, 321, 321, 0)


async def test_each_period_counts_from_its_own_beginning(log: Log, pool: Pool, database_url: str) -> None:
    now = await purses.count(log, ACCOUNT, SUBJECT)
    before_today, before_this_month = (each - timedelta(seconds=1) for each in (now.day_begin, now.month_begin))
    await on_the_log(log, *spending(1), *spending(20, at=before_today), *spending(300, at=before_this_month))
    spent = await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    assert spent.day == 1
    assert spent.month == (21 if now.day_begin != now.month_begin else 1)


async def test_a_keys_purse_counts_its_own_requests_alone(log: Log, pool: Pool) -> None:
    other = "00000000-0000-4000-8000-0000000000dd"
    await on_the_log(log, *spending(1), *spending(20, key=other))
    assert (await Reckoner(log, pool).reckon(ACCOUNT, f"key:{KEY}")).day == 1


async def test_a_balance_counts_from_when_it_was_first_filled(log: Log, pool: Pool) -> None:
    async def forget(account: str, subject: str) -> None:
        await purses.forget(log, account, subject)

    await on_the_log(log, *spending(5000, at=NOW - timedelta(hours=1)))
    async with borrowed(pool) as connection:
        await credit(connection, ACCOUNT, 1000, by="operator", forget=forget)
        balance = await credit(connection, ACCOUNT, 500, by="operator", forget=forget)
    await on_the_log(log, *spending(7, at=datetime.now(UTC)))
    assert (balance.limit_nanousd, balance.period, balance.hard) == (1500, "ever", True)
    assert (await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)).ever == 7


async def test_what_is_paid_while_it_is_set_right_is_not_lost(log: Log, pool: Pool) -> None:
    reckoner = Reckoner(log, pool)
    await reckoner.reckon(ACCOUNT, SUBJECT)
    for number in range(40):
        await ask(log, number)
    held = await deliver(log)
    await log.command(
        "HINCRBY", keys.purse(0, ACCOUNT, SUBJECT), "day_spent", 999
    )  # as a lost second of the log leaves it

    async def pay() -> None:
        for one in held:
            await finish(log, one, 1)

    async def set_right() -> None:
        for _ in range(5):
            await reckoner.reckon(ACCOUNT, SUBJECT)

    await asyncio.gather(pay(), set_right())
    # What these requests came to is on no books: they were told as failures that cost nothing.
    assert await reckoner.reckon(ACCOUNT, SUBJECT) == Spent(0, 0, 0, 0)


async def test_a_log_that_has_forgotten_is_told_again(log: Log, pool: Pool, database_url: str) -> None:
    [entry] = await on_the_log(log, *spending(400))
    await in_the_books(database_url, log, entry)
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    await log.command("DEL", keys.purse(0, ACCOUNT, SUBJECT))

    assert await ask(log, 1, day=450) == Unreckoned(SUBJECT)
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    assert not isinstance(await ask(log, 1, reserve=100, day=450), Accepted)


async def test_what_a_worker_of_an_older_release_left_is_released(log: Log, pool: Pool) -> None:
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    await ask(log, 1)
    await ask(log, 2)
    first, _ = await deliver(log)
    await log.command("XDEL", keys.commands(0), first.entry)
    sweeper = Sweeper(log, pool, None)

    assert await sweeper.sweep(fresh_s=3600) == 0
    assert await sweeper.sweep(fresh_s=-3600) == 1
    assert (await purses.count(log, ACCOUNT, SUBJECT)).held == 100


async def told(pool: Pool) -> list[tuple[int, int]]:
    async with borrowed(pool) as connection:
        rows = await connection.fetch("SELECT envelope FROM outbox ORDER BY created_at, id")
    facts = [read(row["envelope"]).body for row in rows]
    return [(fact.percent, fact.spent_nanousd) for fact in facts if isinstance(fact, BudgetReached)]


async def test_each_part_of_a_budget_is_told_once_and_again_when_the_limit_is_another(log: Log, pool: Pool) -> None:
    await set_for(pool, log, limit=1000)
    await on_the_log(log, *spending(850))
    sweeper = Sweeper(log, pool, None)
    await asyncio.gather(*(sweeper.reckon_all() for _ in range(3)))
    assert await told(pool) == [(50, 850), (80, 850)]

    await set_for(pool, log, limit=1700)
    await sweeper.reckon_all()
    assert await told(pool) == [(50, 850), (80, 850), (50, 850)]


async def test_a_request_that_ends_has_its_budget_looked_at(log: Log, pool: Pool) -> None:
    await set_for(pool, log, limit=1000, hard=False)
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    await ask(log, 1)
    [of] = await deliver(log)
    await finish(log, of, 600)

    await Sweeper(log, pool, None).watch()

    assert await told(pool) == [(50, 600)]
    assert await purses.take_touched(log, 0) == []
    assert await tell_reached(log, pool, None, ACCOUNT, SUBJECT) == 0


async def test_a_budget_that_is_gone_tells_nothing(log: Log, pool: Pool) -> None:
    budget = await set_for(pool, log, limit=1)
    await on_the_log(log, *spending(850))
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    async with borrowed(pool) as connection:
        await connection.execute("DELETE FROM budgets WHERE id = $1", UUID(budget.id))
    await tell_reached(log, pool, None, ACCOUNT, SUBJECT)
    assert await told(pool) == []


@pytest.mark.parametrize("limit", [-1, 10**16])
async def test_the_database_and_the_rules_agree_on_what_a_limit_can_be(log: Log, pool: Pool, limit: int) -> None:
    from app.limits.budgets import BudgetRefused

    with pytest.raises((BudgetRefused, asyncpg.PostgresError)):
        await set_for(pool, log, limit=limit)


async def test_asked_again_under_one_idempotency_key_a_request_is_held_once(log: Log, pool: Pool) -> None:
    await Reckoner(log, pool).reckon(ACCOUNT, SUBJECT)
    repeat = Repeat("key", idempotency_digest="i", body_digest="b")
    said = await asyncio.gather(*(ask(log, number, repeat=repeat, day=100) for number in range(20)))
    assert sorted(type(one).__name__ for one in said) == ["Accepted", *["Same"] * 19]
    assert (await purses.count(log, ACCOUNT, SUBJECT)).held == 100
    assert isinstance(await ask(log, 21, repeat=Repeat("key", "i", "another"), day=100), Mismatch)


async def test_what_nobody_limits_touches_nothing(log: Log) -> None:
    at = command(request=request(1))
    assert await log.admit(at, Limits(), Repeat(caller="key"), {}) == Accepted()
    [of] = await deliver(log)
    assert not of.held
    await finish(log, of, 5)
    found = {key.decode() for key in await log.command("KEYS", "*")}
    assert found & {keys.holds(0), keys.touched(0), keys.day(0, ACCOUNT)} == set()
    assert not any(":purse:" in key or ":rate:" in key for key in found)


async def test_tokens_are_set_right_by_what_was_used(log: Log) -> None:
    tokens = pace("tokens", 1000, cost=900)

    async def take(number: int) -> int:
        said = await log.admit(command(request=request(number)), Limits(tokens=tokens), Repeat(caller="key"), {})
        return said.paces[-1].left if isinstance(said, Accepted) else -1

    assert 99 <= await take(1) <= 101
    assert await take(2) == -1
    [of] = await deliver(log)
    assert of.held
    await finish(log, of, 0, tokens=40)
    assert 59 <= await take(3) <= 62, "860 of the 900 were given back"


async def test_a_day_begins_anew_at_midnight_by_the_servers_clock(log: Log) -> None:
    daily = Limits(requests_a_day=1)
    said = [await log.admit(command(request=request(n)), daily, Repeat(caller="key"), {}) for n in range(2)]
    assert said == [Accepted(left_today=0), DayOver()]
    ends_at = await log.command("EXPIRETIME", keys.day(0, ACCOUNT))
    now = int((await log.command("TIME"))[0])
    assert ends_at % 86_400 == 0
    assert 0 < ends_at - now <= 86_400
