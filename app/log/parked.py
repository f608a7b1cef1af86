"""Dead letters: what could never succeed, with the reason. People read them, retry them, or drop them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from app.ids import new_id, request_id
from app.log import keys
from app.log.log import Log
from app.log.values import Accepted, Limits, Repeat
from events.catalog import Unreadable, read
from events.completions import Complete
from events.message import Envelope, sealed_bytes, sealed_text

if TYPE_CHECKING:
    from app.vault import Vault

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Letter:
    """One parked command. `id` is `partition/entry`."""

    partition: int
    entry: str
    why: str
    type: str
    raw: bytes = field(repr=False)
    request: str | None
    """The request that ended as failed when this was parked; None for what could not even be read."""

    @property
    def id(self) -> str:
        return f"{self.partition}/{self.entry}"

    @property
    def parked_at(self) -> datetime:
        return datetime.fromtimestamp(int(self.entry.partition("-")[0]) / 1000, UTC)


async def letters(log: Log) -> list[Letter]:
    """Every dead letter, oldest first within its partition."""
    return [letter for partition in range(log.partitions) for letter in await letters_in(log, partition)]


async def letters_in(log: Log, partition: int) -> list[Letter]:
    """The dead letters of one partition, oldest first."""
    found, after = [], "-"
    while page := await log.command("XRANGE", keys.parked(partition), after, "+", "COUNT", PAGE):
        found += [_letter(partition, entry.decode(), words) for entry, words in page]
        after = f"({page[-1][0].decode()}"
    return found


async def drop(log: Log, letter: Letter) -> None:
    """Throw it away."""
    await log.command("XDEL", keys.parked(letter.partition), letter.entry)


async def retry(log: Log, letter: Letter, vault: Vault, deadline: datetime) -> str:
    """Put it on the log once more → the id of the request that carries it.

    A request that has ended stays ended: what is asked again is a new request, billed as one. What nobody could read
    goes back as it is, for a worker that has learned to.
    """
    try:
        said = read(letter.raw)
    except Unreadable:
        command = ("__data__", letter.raw, "type", letter.type, "id", letter.entry)
        await log.command("XADD", keys.commands(letter.partition), "*", *command)
        await drop(log, letter)
        return letter.request or letter.entry
    if not isinstance(said.body, Complete):
        raise Unreadable(f"{said.type} is no command")
    box = await vault.box(said.account)
    question = box.open("question", said.subject, sealed_bytes(said.body.question))
    request = request_id()
    ask = said.body.model_copy(
        update={
            "question": sealed_text(box.seal("question", request, question)),
            "deadline": deadline,
            "reply_to": None,
        }
    )
    again = Envelope.begin(ask, id=new_id(), at=datetime.now(UTC), account=said.account, subject=request)
    fields = {
        "created": again.at.isoformat(),
        "model": ask.model,
        "endpoint": ask.endpoint,
        "stream": "1" if ask.stream else "",
    }
    # The letter's own place as idempotency key: a second retry of the same letter finds the first.
    repeat = Repeat(caller=ask.api_key_id, idempotency_digest=f"parked {letter.id}", body_digest=letter.id)
    admitted = await log.admit(again, Limits(), repeat, fields)
    await drop(log, letter)
    return request if isinstance(admitted, Accepted) else getattr(admitted, "request", request)


def _letter(partition: int, entry: str, words: list[bytes]) -> Letter:
    said = dict(zip(words[::2], words[1::2], strict=True))
    return Letter(
        partition=partition,
        entry=entry,
        why=said.get(b"why", b"").decode(errors="replace"),
        type=said.get(b"type", b"").decode(errors="replace"),
        raw=said.get(b"__data__", b""),
        request=said[b"request"].decode() if b"request" in said else None,
    )
