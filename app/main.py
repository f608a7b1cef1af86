"""The web process: the doors, and nothing behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from app import collector, migrate, ready, telemetry
from app.database import borrowed
from app.http import account_pages, docs, openapi
from app.http.analytics import Analytics
from app.http.api_keys import ApiKeys
from app.http.audit import Audit
from app.http.authentication import note_refused
from app.http.budgets import Budgets
from app.http.cache import Cache
from app.http.chat import ChatDoor
from app.http.completions import Completions
from app.http.consents import Consents
from app.http.embeddings import EmbeddingsDoor
from app.http.erasure import Erasures
from app.http.export import Exports
from app.http.headers import Cors, origins
from app.http.health import Health, once
from app.http.leaving import Leaving
from app.http.messages import Messages
from app.http.metrics import Metrics, census
from app.http.models import Models
from app.http.oneself import Oneself
from app.http.operations import NEEDS
from app.http.pages import Pages
from app.http.people import PeopleDoor
from app.http.provider_keys import ProviderKeys
from app.http.providers_status import ProvidersStatus
from app.http.requests import Requests
from app.http.routing_policy import RoutingPolicies
from app.http.server import serve
from app.http.shell import Shell
from app.http.sign_in_with import SignInWith
from app.http.stored_responses import Responses
from app.http.teams import Teams
from app.settings import Settings, settings
from app.sockets import listen
from app.wiring import WebParts, preflight, web_parts

log = structlog.get_logger()


def application(chosen: Settings, leaving: Leaving) -> ASGIApp:
    """The ASGI application: its parts open when the server starts it, and close when it stops."""
    router = Router(redirect_slashes=False, lifespan=None)

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        async with web_parts(chosen) as parts, _cache(chosen.cache) as cache:
            parts = replace(parts, needs=NEEDS)
            router.routes[:] = routes(parts, cache, leaving)
            shell.on_forbidden = partial(note_refused, parts)
            collector.rest()
            log.info("web_started", web=parts.web)
            ready.announce()
            yield

    router.lifespan_context = life
    shell = Shell(router, cors=Cors(origins(chosen.helix_cors_origins)))
    if chosen.sentry_dsn is None:
        return shell
    from app.http.traced import Traced  # imports Sentry, for those who use it

    return Traced(shell)


def _cache(url: str) -> Redis:
    """For the health check: a connection that the server has closed is made anew at once, and nothing is waited for long."""
    return Redis.from_url(url, retry=Retry(NoBackoff(), 1), socket_connect_timeout=1, socket_timeout=1)


def routes(parts: WebParts, cache: Redis, leaving: Leaving) -> list[BaseRoute]:
    """Every route, the hot ones first."""

    async def postgres() -> None:
        async with borrowed(parts.pool) as connection:
            await connection.execute("SELECT 1")

    health = Health(
        {
            "log": parts.log.ping,
            "cache": cache.ping,
            "postgres": postgres,
            "migrations": once(lambda: migrate.at_head(parts.settings.database)),
        }
    )
    return [
        Route("/v1/chat/completions", Completions(parts, ChatDoor(parts, "/v1/chat/completions")), methods=["POST"]),
        Route("/v1/chat", Completions(parts, ChatDoor(parts, "/v1/chat")), methods=["POST"]),
        *Messages(parts).routes(),
        *Responses(parts, leaving).routes(),
        Route("/v1/embeddings", Completions(parts, EmbeddingsDoor()), methods=["POST"]),
        *Models(parts).routes(),
        *Requests(parts, leaving).routes(),
        *Cache(parts).routes(),
        *Analytics(parts).routes(),
        *RoutingPolicies(parts).routes(),
        *ApiKeys(parts).routes(),
        *Budgets(parts).routes(),
        *Teams(parts).routes(),
        *ProviderKeys(parts).routes(),
        *Audit(parts).routes(),
        *Erasures(parts).routes(),
        *Exports(parts).routes(),
        *Consents(parts).routes(),
        *PeopleDoor(parts).routes(),
        *SignInWith(parts).routes(),
        *Oneself(parts).routes(),
        *account_pages.routes(),
        *ProvidersStatus(parts).routes(),
        *health.routes(),
        *Metrics(census(parts.pool), parts.settings.helix_metrics_dir).routes(),
        *openapi.routes(),
        *docs.routes(),
        *Pages(parts.settings.helix_pages).routes(),
    ]


def run(host: str | None = None, port: int | None = None) -> None:
    """The web process, until SIGTERM."""
    chosen = settings()
    telemetry.configure(chosen, "web")
    asyncio.run(preflight(chosen))
    listening = listen(host or chosen.helix_host, chosen.port if port is None else port)
    leaving = Leaving()
    serve(application(chosen, leaving), [listening], leaving)
