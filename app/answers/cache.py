"""The kept answers on the cache server: found, waited for, kept, forgotten. Answers `handlers.ports.Answers`.

One rule: without the cache everything is slower and nothing is wrong. Whoever cannot reach it asks for himself, whatever
cannot be opened or understood is forgotten, and a lease only spares calls: two leaders at once cost money, no truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Final, Literal

import structlog

from app import telemetry
from app.answers import keys
from app.answers.lead import GENERATION_MS, KIND, Leading, bound_to
from app.log.connection import Argument, Connection, LogGone, LogRefused, Reply
from app.vault import VaultRefused
from handlers.ports import Box, Place, Read, Recalled

log = structlog.get_logger()

LEASE_MS: Final = 5_000
"""How long those who wait stand by a leader that has died."""

RENEW_S: Final = 1.5
"""A renewal may be late twice before the lease is lost."""

LOOK_S_MIN: Final = 0.02
LOOK_S_MAX: Final = 0.2
"""Between two looks at a lease: soon at first, for short answers, later at a fifth of a second for the long ones."""

REPLY_S_MAX: Final = 1.0
"""A cache that is slower is away: asking a provider takes about as long."""

LEADERS_MAX: Final = 3
"""Who has seen so many leaders come back with nothing asks for himself: a question that fails would otherwise be failed one
after the other by all who wait."""

_SCRIPTS: Final = {
    name: resources.files("app.answers.scripts").joinpath(f"{name}.lua").read_bytes()
    for name in ("find", "keep", "lease", "note")
}
_DIGESTS: Final = {name: hashlib.sha1(body, usedforsecurity=False).hexdigest() for name, body in _SCRIPTS.items()}

AWAY: Final = (LogGone, LogRefused, TimeoutError)
"""How a cache that cannot be had shows itself."""


class CacheAway(Exception):
    """The cache cannot be reached now."""


class AnswerCache:
    """One process's way to the kept answers. Open it before use; it opens although the cache is away.

    Without a `url` nothing is ever kept: the log server, which serves where no cache is set, evicts nothing and must keep its
    memory for the log. One that takes longer than `reply_s_max` seconds is away.
    """

    def __init__(self, url: str | None, *, name: str, reply_s_max: float = REPLY_S_MAX) -> None:
        self._url = url
        self._reply_s_max = reply_s_max
        self._name = name
        self._connection: Connection | None = None
        self._leads: set[Leading] = set()
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def open(self) -> AnswerCache:
        if self._url is None:
            log.info("answers_not_kept", reason="CACHE_URL is not set")
            return self
        connection = Connection(
            self._url, name=f"{self._name}-answers", on_connect=_prepare, silence_s=2 * self._reply_s_max
        )
        self._connection = await connection.open(patiently=True)
        self._renewing = asyncio.create_task(self._renew_always(), name="renew leads")
        return self

    async def close(self) -> None:
        for task in (self._renewing, *self._watched.values()):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._connection:
            await self._connection.close()

    async def find(
        self,
        place: Place,
        box: Box,
        read: Callable[[bytes], Read],
        *,
        age_s_max: int,
        patience_s: float,
        anew: bool = False,
    ) -> Recalled[Read]:
        """See the port."""
        token, until = secrets.token_hex(8), asyncio.get_running_loop().time() + patience_s
        leaders: set[bytes] = set()
        try:
            while True:
                generations, word, *told = await self._look(place, token, age_s_max, how="anew" if anew else "find")
                if word == b"kept":
                    value = _opened(place, box, told[0], read)
                    if value is not None:
                        telemetry.ANSWER_LOOKUPS.labels("waited" if leaders else "hit").inc()
                        return Recalled(value, None)
                    await self.ask("UNLINK", keys.entry(place))
                    continue
                if word == b"lead":
                    telemetry.ANSWER_LOOKUPS.labels("miss").inc()
                    return Recalled(None, self._lead(place, box, generations, "" if anew else token))
                leaders.add(told[0])
                left_s = until - asyncio.get_running_loop().time()
                if len(leaders) > LEADERS_MAX or left_s <= 0:
                    telemetry.ANSWER_LOOKUPS.labels("miss").inc()
                    return Recalled(None, self._lead(place, box, generations, ""))
                await self._change(keys.lease(place), told[0], left_s)
        except AWAY as away:
            telemetry.ANSWER_LOOKUPS.labels("away").inc()
            if not isinstance(away, LogGone):  # an outage is told by the connection, once
                log.warning("answers_not_asked", reason=str(away)[:100] or "silence")
            return Recalled(None, None)

    async def peek(self, place: Place, box: Box, read: Callable[[bytes], Read], *, age_s_max: int) -> Read | None:
        """See the port."""
        try:
            _, word, *told = await self._look(place, "", age_s_max, how="peek")
        except AWAY:
            return None
        return _opened(place, box, told[0], read) if word == b"kept" else None

    async def forget(self, account: str, scope: str | None = None) -> None:
        """From now on nothing is found of what is kept for the account, or for one scope of it, nor of what is being found
        just now. Raises CacheAway."""
        if self._connection is None:
            return
        try:
            await self.ask("DEL", keys.account(account) if scope is None else keys.scope(account, scope))
        except AWAY as away:
            raise CacheAway(str(away) or "silence") from None
        log.info("answers_forgotten", account=account, scope=scope)

    async def _look(
        self, place: Place, token: str, age_s_max: int, *, how: Literal["find", "anew", "peek"]
    ) -> Sequence[bytes]:
        said: Sequence[bytes] = await self._script(
            "find", keys.of(place), token, LEASE_MS, age_s_max * 1000, secrets.token_hex(8), GENERATION_MS, how
        )
        return said

    def _lead(self, place: Place, box: Box, generations: bytes, token: str) -> Leading:
        leading = Leading(place, box, generations, token, tell=self.tell, on_end=self._leads.discard)
        if token:
            self._leads.add(leading)
        return leading

    async def _change(self, lease: str, leader: bytes, left_s: float) -> None:
        """Wait until somebody else leads, or nobody. All of this process who wait for the same look together."""
        watching = self._watched.get(lease)
        if watching is None:
            watching = self._watched[lease] = asyncio.create_task(self._watch(lease, leader), name="watch a lease")
            watching.add_done_callback(lambda _: self._watched.pop(lease, None))
        await asyncio.wait({watching}, timeout=left_s)

    async def _watch(self, lease: str, leader: bytes) -> None:
        pause_s = LOOK_S_MIN
        with contextlib.suppress(*AWAY):  # whoever waits looks again, and finds out
            while await self.ask("GET", lease) == leader:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LOOK_S_MAX)

    async def _renew_always(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            for leading in self._leads:
                self.tell("lease", (keys.lease(leading.place),), leading.token, LEASE_MS)

    async def ask(self, *command: Argument) -> Reply:
        """One command to the cache server. Raises what stands in AWAY."""
        if self._connection is None:
            raise LogGone("no cache is set", sent=False)
        async with asyncio.timeout(self._reply_s_max):
            return await self._connection(*command)

    async def _script(self, name: str, script_keys: Sequence[str], *words: Argument) -> Reply:
        return await self.ask("EVALSHA", _DIGESTS[name], len(script_keys), *script_keys, *words)

    def tell(self, name: str, script_keys: Sequence[str], *words: Argument) -> None:
        """Send it and wait for nothing: a cache that does not hear it has forgotten, or soon will."""
        if self._connection:
            told = self._connection("EVALSHA", _DIGESTS[name], len(script_keys), *script_keys, *words)
            told.add_done_callback(_heard)


def _opened(place: Place, box: Box, sealed: bytes, read: Callable[[bytes], Read]) -> Read | None:
    """The value of what was kept; None when it is worth nothing."""
    try:
        return read(box.open(KIND, bound_to(place), sealed))
    except (VaultRefused, ValueError) as worthless:
        telemetry.ANSWER_LOOKUPS.labels("worthless").inc()
        log.info("kept_answer_dropped", account=place.account, scope=place.scope, reason=type(worthless).__name__)
        return None


def _heard(told: asyncio.Future[Reply]) -> None:
    if not told.cancelled() and (refused := told.exception()) and not isinstance(refused, LogGone):
        log.warning("answer_not_kept", reason=str(refused)[:100])


async def _prepare(connection: Connection) -> None:
    await asyncio.gather(*(connection("SCRIPT", "LOAD", body) for body in _SCRIPTS.values()))
