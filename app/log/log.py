"""What Helix asks of the log server, each in one round trip. Keys and scripts are known here and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal

import structlog

from app.bounded_cache import BoundedCache
from app.log import admission, keys, values
from app.log.connection import Argument, Connection, LogGone, LogRefused, Reply
from app.log.nodes import Nodes
from app.log.values import (
    ENDED,
    NOTHING,
    Admission,
    Charge,
    Frame,
    Limits,
    Owned,
    Reclaimed,
    Repeat,
    Standing,
    State,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from events.message import Envelope

log = structlog.get_logger()

LIVE_S: Final = 3600
"""How long an ended request can be followed from its live stream (contract 3.2)."""

DELETED_S: Final = 48 * LIVE_S
"""How long the mark of a deletion stands: longer than any projector is behind."""

RUNNING_S: Final = 4 * LIVE_S
"""How long the live stream of a running request outlives its first frame: far above the longest request."""

REPLY_FRAMES_MAX: Final = 20_000
"""Cap of one web process's reply stream. The reader trims what it has read; a reader that is further behind than this
is gone or must catch up from the live streams."""

REPLY_S: Final = 120
"""A reply stream outlives its web process by this."""

FRAMES_MAX: Final = 1000
"""Of one reading of a live stream."""

PROLONG_S: Final = REPLY_S / 4
"""How often a worker prolongs a reply stream that it writes to: seldom, and long before it could have ended."""

_MONEY: Final = ("admit", "finish", "release", "count", "correct")
"""Scripts that reckon with purses: `money.lua` stands in front of each."""

_SCRIPTS: Final = {
    name: b"\n".join(
        resources.files("app.log.scripts").joinpath(f"{part}.lua").read_bytes()
        for part in (("money", name) if name in _MONEY else (name,))
    )
    for name in (
        "admit",
        "begin",
        "finish",
        "renew",
        "reclaim",
        "cancel",
        "park",
        "stand",
        "heed",
        "give_back",
        "dismiss",
        "release",
        "count",
        "correct",
        "forget",
    )
}
_DIGESTS: Final = {name: hashlib.sha1(body, usedforsecurity=False).hexdigest() for name, body in _SCRIPTS.items()}


class Log:
    """The log of all partitions. One shared connection a server for what answers at once; blocking reads take their own."""

    def __init__(self, url: str, *, name: str, partitions: int = 1) -> None:
        self.name = name
        self.partitions = partitions
        self.nodes = Nodes(url, name=name, partitions=partitions, prepare=_prepare)
        self._connection = self.nodes
        self._prolonged: BoundedCache[str, bool] = BoundedCache(4096)
        """Reply streams whose end is far enough away."""

    async def open(self) -> Log:
        """Connect, or raise LogGone."""
        await self.nodes.open()
        return self

    async def close(self) -> None:
        await self.nodes.close()

    @property
    def connected(self) -> bool:
        return any(connection.connected for connection in self.nodes.connections)

    @property
    def restored_ago_s(self) -> float:
        """How long ago the last outage of a server ended; infinite when there was none."""
        return min(connection.restored_ago_s for connection in self.nodes.connections)

    @asynccontextmanager
    async def blocking(self, purpose: str, partition: int = 0, *, patiently: bool = False) -> AsyncIterator[Connection]:
        """A connection of one's own to the server that holds a partition, for commands that wait there. Raises LogGone
        when it is away; `patiently`: it is tried again until it is there."""
        connection = Connection(self.nodes.url_of(partition), name=f"{self.name}-{purpose}")
        await connection.open(patiently=patiently)
        try:
            yield connection
        finally:
            await connection.close()

    def command(self, *words: Argument) -> asyncio.Future[Reply]:
        """Any other command, over the shared connection to the server that holds its key."""
        return self._connection(*words)

    def partition_of(self, account: str) -> int:
        return keys.partition_of(account, self.partitions)

    async def ping(self) -> None:
        """Raises LogGone when no server answers."""
        await self._connection("PING")

    # Declared once, when migrating and when a process starts.

    async def declare(self) -> None:
        """Make every stream and group that is missing. A group starts at 0: what was written before it is read too.

        Raises LogGone when no server can be reached; one of a cluster declares its own as soon as it is back.
        """
        asked = [_declare(self._connection, partition) for partition in range(self.partitions)]
        refused = [one for one in await asyncio.gather(*asked, return_exceptions=True) if one is not None]
        fatal = [one for one in refused if not isinstance(one, LogGone)]
        if fatal or len(refused) == self.partitions:
            raise (fatal or refused)[0]

    # The door.

    async def admit(self, envelope: Envelope, limits: Limits, repeat: Repeat, fields: Mapping[str, str]) -> Admission:
        """Put a command on the log unless it was there before or the account must wait. One round trip.

        The answer is given only after the log has it on disk. Raises LogGone; with `sent` the outcome is unknown.
        """
        p = self.partition_of(envelope.account)
        script_keys, words = admission.asked(p, envelope, limits, repeat, fields)
        said = await self._script("admit", script_keys, *words)
        return admission.answered(said, limits)

    async def standing(self, account: str, request: str) -> Standing | None:
        """What is known of an account's request; None when it is unknown, another's, or ended over an hour ago."""
        p = self.partition_of(account)
        flat = await self._script("stand", (keys.request(p, request), keys.commands(p)), keys.COMPLETIONS)
        known = {key.decode(): value.decode() for key, value in zip(flat[::2], flat[1::2], strict=True)}
        if known.get("account") != account:
            return None
        return values.standing(request, known)

    async def heed(self, account: str, request: str) -> None:
        """Tell that somebody follows an open request, so that its end is written to its live stream."""
        await self._script("heed", (keys.request(self.partition_of(account), request),))

    async def open_of(self, account: str) -> list[Standing]:
        """The account's requests that have not ended, newest first."""
        p = self.partition_of(account)
        ids = [id.decode() for id in await self._connection("ZRANGE", keys.open_requests(p, account), 0, -1, "REV")]
        found = await asyncio.gather(*(self.standing(account, id) for id in ids))
        return [one for one in found if one is not None and one.state not in ENDED]

    async def cancel(self, account: str, request: str, by: Literal["client", "disconnect"]) -> State | None:
        """Ask for a request to be stopped → the state it was in; None when it is unknown or another's."""
        p = self.partition_of(account)
        said = await self._script("cancel", (keys.request(p, request), keys.control(p)), request, by, account)
        return said.decode() if said else None

    async def asked(self, standing: Standing) -> bytes | None:
        """The command of a request that has not ended; None when it has ended meanwhile."""
        commands, entry = keys.commands(self.partition_of(standing.account)), standing.fields.get("command", "")
        said = await self._connection("XRANGE", commands, entry, entry)
        return _field(said[0][1], b"__data__") if said else None

    async def let_go(self, account: str, request: str) -> None:
        """An ended request's content is not wanted any more: what is kept here for followers goes at once, and a mark
        stays until every projection has heard the fact, which is to be on the log before."""
        p = self.partition_of(account)
        await asyncio.gather(
            self._connection("SET", keys.deleted(p, request), "1", "EX", DELETED_S),
            self._connection("DEL", keys.live(p, request), keys.request(p, request)),
        )

    async def is_deleted(self, account: str, request: str) -> bool:
        """Whether `let_go` was told of this request of late."""
        return bool(await self._connection("EXISTS", keys.deleted(self.partition_of(account), request)))

    # The worker.

    def begin(self, owned: Owned) -> asyncio.Future[Reply]:
        """A command is taken up → who has cancelled it meanwhile, as bytes; nothing when nobody has.

        The first attempt only reads: a write would cost every request one more fsync of the log.
        """
        p = owned.partition
        if owned.attempt == 1:
            return self._connection("HGET", keys.request(p, owned.request), "cancel")
        return self._script(
            "begin",
            (keys.request(p, owned.request), keys.live(p, owned.request), keys.reply(p, owned.reply_to or "")),
            owned.request,
            owned.attempt,
            RUNNING_S,
            "1" if owned.reply_to else "",
        )

    async def suspect(self, owned: Owned) -> int:
        """Write down that a command is carried out with no other suspect beside it → how often that makes."""
        key = keys.request(owned.partition, owned.request)
        return int(await self._connection("HINCRBY", key, "alone", 1))

    async def acquit(self, owned: Owned) -> None:
        """Take that back: it was we who stopped, and not because of the command."""
        await self._connection("HINCRBY", keys.request(owned.partition, owned.request), "alone", -1)

    def tell(self, owned: Owned, number: int, body: bytes, meta: bytes) -> Sequence[asyncio.Future[Reply]]:
        """Append one frame of deltas to the request's live stream and wake the web process that waits."""
        live = keys.live(owned.partition, owned.request)
        words = ("a", owned.attempt, "k", "d", "n", number, "m", meta, "f", body)
        sent = [self._connection("XADD", live, "*", *words)]
        if number == 1:
            sent.append(self._connection("EXPIRE", live, RUNNING_S))
        if owned.reply_to:
            reply = keys.reply(owned.partition, owned.reply_to)
            sent.append(
                self._connection("XADD", reply, "MAXLEN", "~", REPLY_FRAMES_MAX, "*", "r", owned.request, *words)
            )
            if self._prolonged.get(reply) is None:
                self._prolonged.put(reply, True, keep_s=PROLONG_S)
                sent.append(self._connection("EXPIRE", reply, REPLY_S))
        return sent

    async def finish(
        self,
        owned: Owned,
        consumer: str,
        envelope: Envelope,
        state: State,
        *,
        meta: bytes,
        body: bytes,
        number: int,
        parked: str = "",
        charge: Charge = NOTHING,
    ) -> str | None:
        """Record the outcome, say the last word, release the account's place, settle what was reserved and ack, in one
        step.

        `body` is the sealed answer for the web process that waits, empty when it has had every word already; followers
        take the answer from the event.

        → the event's entry id; None when another worker owns the command by now, and nothing was written.
        """
        p = owned.partition
        said = await self._script(
            "finish",
            (
                keys.commands(p),
                keys.events(p),
                keys.live(p, owned.request),
                keys.reply(p, owned.reply_to or ""),
                keys.request(p, owned.request),
                keys.open_requests(p, owned.account),
                keys.parked(p),
                keys.holds(p),
                keys.touched(p),
            ),
            keys.COMPLETIONS,
            owned.entry,
            consumer,
            owned.attempt,
            owned.request,
            state,
            envelope.encode(),
            envelope.type,
            envelope.id,
            meta,
            body,
            number,
            LIVE_S,
            "1" if owned.reply_to else "",
            REPLY_FRAMES_MAX,
            parked,
            "1" if owned.held else "",
            charge.nanousd,
            charge.tokens,
        )
        return said.decode() if said else None

    async def renew(self, partition: int, consumer: str, held: Sequence[Owned]) -> list[str]:
        """Keep what this consumer works on → for each: `` still mine, `!` lost, else who has cancelled it."""
        words = [word for one in held for word in (one.entry, one.attempt, one.request)]
        said = await self._script(
            "renew", (keys.commands(partition),), keys.COMPLETIONS, consumer, keys.request(partition, ""), *words
        )
        return [word.decode() for word in said]

    async def give_back(
        self, partition: int, consumer: str, held: Sequence[tuple[str, int, int]], *, idle_ms: int
    ) -> None:
        """Leave entries to others: (entry id, attempt, the count it is left with). With `idle_ms` at the lease's length
        anyone may take them over at once, and is told so; with 0 when a lease has passed."""
        words = [word for one in held for word in one]
        script_keys = keys.commands(partition), keys.control(partition)
        await self._script("give_back", script_keys, keys.COMPLETIONS, consumer, idle_ms, *words)

    async def held_by(
        self, partition: int, consumer: str, *, most: int, behind: str = ""
    ) -> list[tuple[str, int, int]]:
        """What is pending under a consumer's name behind an entry id: (entry id, idle ms, attempt)."""
        first = f"({behind}" if behind else "-"
        said = await self._connection(
            "XPENDING", keys.commands(partition), keys.COMPLETIONS, first, "+", most, consumer
        )
        return [(entry.decode(), idle_ms, attempt) for entry, _, idle_ms, attempt in said]

    async def dismiss(self, partition: int, *, idle_ms: int) -> list[str]:
        """Forget the consumers that have nothing pending and have been silent for so long → their names."""
        said = await self._script("dismiss", (keys.commands(partition),), keys.COMPLETIONS, idle_ms)
        return [name.decode() for name in said]

    async def reclaim(
        self, partition: int, consumer: str, *, idle_ms: int, most: int, own: bool = False, behind: str = ""
    ) -> Reclaimed:
        """Take over what nobody renews, at most so many of those behind an entry id.

        `own`: what this very consumer left behind in its former life, however fresh.
        """
        taken, gone, last = await self._script(
            "reclaim",
            (keys.commands(partition),),
            keys.COMPLETIONS,
            consumer,
            idle_ms,
            most,
            "1" if own else "",
            f"({behind}" if behind else "-",
        )
        entries = [
            (entry.decode(), count, dict(zip(words[::2], words[1::2], strict=True))) for entry, count, words in taken
        ]
        return Reclaimed(entries, gone, last.decode())

    async def park(self, partition: int, entry: str, attempt: int, consumer: str, why: str) -> None:
        """Put away what cannot even be read, with the reason; for its owner alone."""
        await self._script(
            "park",
            (keys.commands(partition), keys.parked(partition)),
            keys.COMPLETIONS,
            entry,
            consumer,
            attempt,
            why,
        )

    # Facts.

    async def publish(self, envelope: Envelope) -> str:
        """Append a fact that has no command → its entry id."""
        key = keys.events(self.partition_of(envelope.account))
        said = await self._connection(
            "XADD", key, "*", "__data__", envelope.encode(), "type", envelope.type, "id", envelope.id
        )
        return str(said.decode())

    async def read_events(
        self, partition: int, after: str, *, count: int, block_ms: int | None = None, over: Connection | None = None
    ) -> list[tuple[str, bytes]]:
        """(entry id, raw envelope) behind `after`, oldest first. With `block_ms` it waits for the first, over a
        connection of the caller's own."""
        block: tuple[Argument, ...] = () if block_ms is None else ("BLOCK", block_ms)
        said = await (over or self._connection)(
            "XREAD", "COUNT", count, *block, "STREAMS", keys.events(partition), after
        )
        return [(entry.decode(), _field(words, b"__data__")) for entry, words in said[0][1]] if said else []

    async def event(self, account: str, entry: str) -> bytes | None:
        """One event by its entry id; None when it is trimmed."""
        said = await self._connection("XRANGE", keys.events(self.partition_of(account)), entry, entry)
        return _field(said[0][1], b"__data__") if said else None

    async def last_event_id(self, partition: int) -> str:
        """The id of the newest event there ever was, `0-0` before the first."""
        try:
            flat = await self._connection("XINFO", "STREAM", keys.events(partition))
        except LogRefused as refused:
            if "no such key" in str(refused):
                return "0-0"
            raise
        return str(dict(zip(flat[::2], flat[1::2], strict=True))[b"last-generated-id"].decode())

    # Live.

    async def frames(
        self,
        account: str,
        request: str,
        after: str,
        *,
        most: int = FRAMES_MAX,
        block_ms: int | None = None,
        over: Connection | None = None,
    ) -> list[Frame]:
        """Frames of a request behind an entry id. With `block_ms` it waits for the first, over the caller's connection."""
        live = keys.live(self.partition_of(account), request)
        block: tuple[Argument, ...] = () if block_ms is None else ("BLOCK", block_ms)
        said = await (over or self._connection)("XREAD", "COUNT", most, *block, "STREAMS", live, after)
        return [frame(entry, words, request) for entry, words in said[0][1]] if said else []

    def script(self, name: str, script_keys: Sequence[str], *words: Argument) -> asyncio.Future[Reply]:
        """A script of this room by its name; for what is asked seldom and stands in a file of its own."""
        return self._script(name, script_keys, *words)

    def _script(self, name: str, script_keys: Sequence[str], *words: Argument) -> asyncio.Future[Reply]:
        return self._connection("EVALSHA", _DIGESTS[name], len(script_keys), *script_keys, *words)


async def _prepare(connection: Connection, partitions: Sequence[int]) -> None:
    """What a server must know before it is asked anything."""
    await asyncio.gather(
        *(connection("SCRIPT", "LOAD", body) for body in _SCRIPTS.values()),
        *(_declare(connection, partition) for partition in partitions),
    )


async def _declare(ask: Callable[..., asyncio.Future[Reply]], partition: int) -> None:
    try:
        await ask("XGROUP", "CREATE", keys.commands(partition), keys.COMPLETIONS, "0", "MKSTREAM")
    except LogRefused as refused:
        if not str(refused).startswith("BUSYGROUP"):
            raise
        return
    waiting, used = await asyncio.gather(ask("XLEN", keys.commands(partition)), ask("EXISTS", keys.events(partition)))
    if waiting or used:
        # Somebody destroyed it. From 0 it loses nothing: what is finished has been deleted, the rest is asked again.
        log.error("group_was_lost", partition=partition, group=keys.COMPLETIONS, commands_waiting=waiting)


def _field(words: Sequence[bytes], name: bytes) -> bytes:
    for at in range(0, len(words), 2):
        if words[at] == name:
            return words[at + 1]
    return b""
