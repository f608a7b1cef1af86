"""Requests that reserve, as the door and the worker make them."""

from __future__ import annotations

from app.log import Log, keys
from app.log.values import Admission, Charge, Limits, Owned, Purse, Repeat
from events.catalog import read
from events.completions import Complete
from events.message import Envelope
from handlers.complete import give_up
from handlers.rules.catalogue import Catalogue
from tests.fakes.road import ACCOUNT, PlainBox, ScriptedProviders, command, ports

SUBJECT = "account"
WORLD = ports(ScriptedProviders(Catalogue.of(())))


def request(number: int) -> str:
    return f"req_{number:032x}"


ONCE = Repeat(caller="key")


async def ask(log: Log, number: int, reserve: int = 100, *, repeat: Repeat = ONCE, **bounds: int) -> Admission:
    """`bounds`: the most in a `day`, in a `month`, `ever`."""
    limits = Limits(purses=(Purse(SUBJECT, **bounds),), reserve_nanousd=reserve)
    return await log.admit(command(request=request(number)), limits, repeat, {"model": "gpt"})


async def deliver(log: Log, consumer: str = "a", most: int = 1000) -> list[Owned]:
    said = await log.command(
        "XREADGROUP", "GROUP", keys.COMPLETIONS, consumer, "COUNT", most, "STREAMS", keys.commands(0), ">"
    )
    found = []
    for entry, words in said[0][1] if said else ():
        held, raw = b"held" in words[::2], dict(zip(words[::2], words[1::2], strict=True))[b"__data__"]
        found.append(Owned(0, entry.decode(), 1, read(raw).subject, ACCOUNT, None, held=held))
    return found


async def finish(log: Log, of: Owned, nanousd: int, consumer: str = "a", *, tokens: int = 0) -> str | None:
    at = command(request=of.request)
    assert isinstance(at.body, Complete)
    event = give_up(at.body, at, PlainBox(), WORLD, why="parked", attempts=5).event
    said: Envelope = at.follow(event, id=f"fact of {of.request}", at=at.at)
    charge = Charge(nanousd, tokens)
    return await log.finish(of, consumer, said, "failed", meta=b"{}", body=b"", number=1, charge=charge)
