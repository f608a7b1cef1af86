"""`/livez`, `/readyz` and `/health`: does this process run, and does what it stands on answer.

One rule: an answer within seconds, whatever hangs; and asking often costs no more than asking once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.telemetry import kind_of

log = structlog.get_logger()

CHECK_S_MAX: Final = 2.0
"""Railway and most balancers ask with 5 s to 10 s of patience."""
ANSWER_KEPT_S: Final = 0.5
"""Nobody needs a key to ask, so a flood of askers must not become a flood of queries."""

Check = Callable[[], Awaitable[object]]
"""Raises, or returns False, when it is not well."""


def once(check: Check) -> Check:
    """A check that stays true once it was: migrations are not taken back under a running process."""
    passed = False

    async def remembered() -> bool:
        nonlocal passed
        passed = passed or await check() is not False
        return passed

    return remembered


class Health:
    """The health of this process. `checks` by the name that is shown: `log`, `cache`, `postgres`, `migrations`."""

    def __init__(self, checks: Mapping[str, Check], *, check_s_max: float = CHECK_S_MAX) -> None:
        self._checks = checks
        self._check_s_max = check_s_max
        self._asking: asyncio.Task[Mapping[str, str]] | None = None
        self._asked_at = 0.0

    def routes(self) -> list[Route]:
        return [
            Route("/livez", self.live, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/health", self.ready, methods=["GET"]),
        ]

    async def live(self, request: Request) -> Response:
        return _answer(200, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        found = await self.ask()
        well = all(word == "ok" for word in found.values())
        return _answer(200 if well else 503, {"status": "ok" if well else "unavailable", "checks": found})

    async def ask(self) -> Mapping[str, str]:
        """Each check's name → `ok`, or what is wrong with it in a word."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or now - self._asked_at > ANSWER_KEPT_S:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> Mapping[str, str]:
        words = await asyncio.gather(*map(self._ask_one, self._checks.values()))
        found = dict(zip(self._checks, words, strict=True))
        if unwell := {name: word for name, word in found.items() if word != "ok"}:
            log.warning("health_check_failed", **unwell)
        return found

    async def _ask_one(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._check_s_max):
                return "ok" if await check() is not False else "not ready"
        except TimeoutError:
            return f"no answer within {self._check_s_max:g} s"
        except Exception as fault:  # noqa: BLE001  # whatever a driver raises answers the question that was asked
            return kind_of(fault)


def _answer(status: int, said: Mapping[str, object]) -> Response:
    return Response(orjson.dumps(said), status, {"cache-control": "no-store"}, "application/json")
