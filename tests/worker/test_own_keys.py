"""A request whose account has brought provider keys gets ports of its own, and waits for them rather than go without."""

from __future__ import annotations

from dataclasses import replace

from app.database import Unavailable
from app.jobs import Worker
from app.log import Log
from app.log.values import Limits, Repeat
from events.completions import Complete, ProviderKey
from events.message import Envelope
from handlers.ports import Box, Ports
from tests.fakes.road import ACCOUNT, PlainVault, Says, command, ports
from tests.worker.working import NEVER_S, deliver, providers, request, told

KEYS = (ProviderKey(provider="one", version="v1"),)


def asked(number: int, keys: tuple[ProviderKey, ...]) -> Envelope:
    at = command(request=request(number), reply_to="web")
    assert isinstance(at.body, Complete)
    return at.model_copy(update={"body": at.body.model_copy(update={"provider_keys": keys})})


async def test_who_has_brought_keys_is_answered_by_ports_of_his_own_once_they_can_be_had(log: Log) -> None:
    common, own, vault = providers(always=Says(["ours"])), providers(always=Says(["own"])), PlainVault()
    outages = [Unavailable("away"), Unavailable("away")]
    named: list[tuple[str, tuple[ProviderKey, ...]]] = []

    async def own_keys(everybodys: Ports, account: str, box: Box, keys: tuple[ProviderKey, ...]) -> Ports:
        if outages:
            raise outages.pop()
        named.append((account, keys))
        return replace(everybodys, providers=own)

    worker = Worker(
        log,
        ports(common, vault=vault),
        vault.cached,
        consumer="a",
        concurrency=9,
        lease_s=NEVER_S,
        own_keys=own_keys,
    )
    await worker.start()
    try:
        for number, keys in ((1, KEYS), (2, ())):
            await log.admit(asked(number, keys), Limits(), Repeat("key"), {"model": "gpt"})
        await deliver(log, worker)
        assert set(await told(log, 2)) == {(request(1), "completed"), (request(2), "completed")}
    finally:
        await worker.drain(within_s=0)

    assert (len(own.asked), len(common.asked), outages) == (1, 1, [])
    assert named == [(ACCOUNT, KEYS)]
