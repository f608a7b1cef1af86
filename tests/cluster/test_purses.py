"""What is held and spent on a cluster: everything of an account lies in its own slot."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from app.log import Log, keys, purses
from app.log.values import Accepted, Charge, Limits, Owned, Purse, Repeat, pace
from tests.cluster.conftest import Cluster
from tests.fakes.road import command
from tests.projections import finished

PARTITIONS = 6
LIMITS = Limits(
    paces=(pace("account", 10),),
    tokens=pace("tokens", 1000, cost=100),
    requests_a_day=10,
    open_max=10,
    purses=(Purse("account", day=1000), Purse("key:1", month=1000)),
    reserve_nanousd=100,
)


async def test_a_request_is_held_and_settled_in_every_partition(cluster: Cluster) -> None:
    log = await Log(cluster.url, name="tests", partitions=PARTITIONS).open()
    try:
        await log.declare()
        accounts: dict[int, str] = {}
        for number in range(100):
            account = str(UUID(int=number))
            accounts.setdefault(log.partition_of(account), account)
        assert len(accounts) == PARTITIONS
        for p, account in accounts.items():
            await held_and_settled(log, p, account)
    finally:
        await log.close()


async def held_and_settled(log: Log, p: int, account: str) -> None:
    for purse in LIMITS.purses:
        assert await purses.correct(
            log, account, purse.subject, await purses.count(log, account, purse.subject), 7, 7, 7
        )
    at = command(request=f"req_{p:032x}").model_copy(update={"account": account})
    assert isinstance(await log.admit(at, LIMITS, Repeat(caller="key"), {}), Accepted)
    [hold] = await purses.holds(log, p)
    assert hold.purses == ((account, "account"), (account, "key:1"))
    said = await log.command("XREADGROUP", "GROUP", keys.COMPLETIONS, "a", "STREAMS", keys.commands(p), ">")
    owned = Owned(p, said[0][1][0][0].decode(), 1, at.subject, account, None, held=True)
    fact = at.follow(finished(account).body, id="fact", at=datetime.now(UTC))

    assert await log.finish(owned, "a", fact, "completed", meta=b"{}", body=b"", number=1, charge=Charge(30, 12))

    assert await purses.holds(log, p) == []
    for purse in LIMITS.purses:
        seen = await purses.count(log, account, purse.subject)
        assert (seen.held, seen.in_day, seen.in_month, seen.ever) == (0, 37, 37, 37)
    assert sorted(await purses.take_touched(log, p)) == [(account, "account"), (account, "key:1")]
