"""The only place that chooses who answers each port: the parts of a web process, and of a worker."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.answers import AnswerCache, NearbyQuestions
from app.audit.refused import RefusedRights
from app.changes import Change, Changes
from app.database import Pool, open_pool
from app.doctor import check_log
from app.http.pages import load as load_pages
from app.http.throttle import Guesses
from app.identity import Identities, Identity
from app.identity_records import PostgresRecords
from app.key_ring import KeyRing, RingRefused
from app.limits.allowances import Allowances
from app.limits.reckoning import Reckoner
from app.limits.tiers import load_tiers
from app.live.listen import Listener
from app.log import Log
from app.log.connection import LogRefused
from app.log.count import OtherCount, agree
from app.mail import Mails
from app.mail.choice import has_post, post_of
from app.people.parts import People, named_issuers, people_parts
from app.people.tokens import AccessTokens, SecretRefused
from app.provider_keys.cabinet import Cabinet
from app.provider_keys.catalogues import OwnCatalogues
from app.providers.catalogue import load_catalogue
from app.settings import Settings
from app.shedding import Shedding
from app.standing.shared import Shared
from app.standing.watch import Watch
from app.vault import Vault
from handlers.rules.catalogue import Catalogue
from handlers.rules.roles import Action

if TYPE_CHECKING:
    from app.provider_keys.asking import OwnKeys
    from app.providers.world import World

READERS: Final = 5
"""Connections a web process reads lists and old requests over; a short queue is better than many connections."""
ANALYSTS: Final = 2
"""Connections of a web process for sums over many rows: a few at once are all that a server should bear."""
SUM_S_MAX: Final = 15
"""A sum that takes longer is broken off; the client may ask for fewer days."""


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the doors work with."""

    settings: Settings
    log: Log
    pool: Pool
    vault: Vault
    identities: Identities
    catalogue: Catalogue
    listener: Listener
    shedding: Shedding
    database: AsyncEngine
    """For the read models; the hot road uses the pool."""
    analytics: AsyncEngine
    """For sums over many rows: the replica, where there is one."""
    answers: AnswerCache
    standing: Shared
    """How the providers stand, as the workers have written it down."""
    web: str
    """The name of this process on the log, new at every start."""
    allowances: Allowances
    """What each account may ask for and spend."""
    reckoner: Reckoner
    mails: Mails
    """Where mails to people are put in; the projector sends them."""
    people: People
    guesses: Guesses = field(default_factory=Guesses)
    refused: RefusedRights = field(default_factory=RefusedRights)
    """Who was refused a right: the audit log is told, by and by."""
    own_catalogues: OwnCatalogues | None = None
    """What accounts with provider keys of their own may ask for."""
    needs: Mapping[tuple[str, str], Action] = field(default_factory=dict)
    """(method, path of a route) → what it does, and so what `identify` asks for; what is not in it is not opened."""

    def catalogue_of(self, identity: Identity) -> Catalogue:
        """What the account may ask for: what everybody may, and what its own provider keys open."""
        if not identity.provider_keys or self.own_catalogues is None:
            return self.catalogue
        return self.own_catalogues.of(identity.provider_keys)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker works with."""

    log: Log
    vault: Vault
    providers: World
    answers: AnswerCache
    nearby: NearbyQuestions | None
    standing: Watch
    pool: Pool
    question_digests: bool
    own_keys: OwnKeys


@asynccontextmanager
async def web_parts(settings: Settings) -> AsyncIterator[WebParts]:
    """Everything a web process needs, open; closed in the opposite order."""
    async with AsyncExitStack() as stack:
        web = f"{settings.helix_process_name}-{secrets.token_hex(4)}"
        log, pool, vault = await _common(stack, settings, web)
        people = people_parts(settings, pool)
        allowances = Allowances(pool, load_tiers(settings.helix_tiers), settings.max_connections_per_user)

        def forget(account: str) -> None:
            vault.forget(account)
            allowances.forget(account)

        def forget_all() -> None:
            vault.forget_all()
            allowances.forget_all()
            people.signed_in.forget_all()

        identities = await stack.enter_async_context(
            Identities(
                PostgresRecords(pool),
                settings.cache,
                on_account_changed=forget,
                on_change=people.forget,
                on_gap=forget_all,
            )
        )
        listener = Listener(log, web)
        await listener.start()
        stack.push_async_callback(listener.stop)
        shedding = Shedding(log)
        await shedding.start()
        stack.push_async_callback(shedding.stop)
        database = _engine(settings.database, READERS)
        stack.push_async_callback(database.dispose)
        replica = settings.database_replica_url
        analytics = _engine(replica.get_secret_value() if replica else settings.database, ANALYSTS, SUM_S_MAX)
        stack.push_async_callback(analytics.dispose)
        answers = await _answers(stack, settings, web)
        standing = Shared(settings.cache, web)
        stack.push_async_callback(standing.close)
        refused = RefusedRights()
        refused.start(pool)
        stack.push_async_callback(refused.stop, pool)
        catalogue = load_catalogue(settings)
        yield WebParts(
            settings,
            log,
            pool,
            vault,
            identities,
            catalogue,
            listener,
            shedding,
            database,
            analytics,
            answers,
            standing,
            web,
            allowances,
            Reckoner(log, pool),
            Mails(_ring(settings), has_post(settings)),
            people,
            refused=refused,
            own_catalogues=OwnCatalogues(settings, catalogue),
        )


def _engine(url: str, connections: int, statement_s_max: int = 0) -> AsyncEngine:
    """For reading. A statement that takes longer is broken off; 0: none is."""
    return create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"server_settings": {"statement_timeout": str(statement_s_max * 1000)}} if statement_s_max else {},
    )


@asynccontextmanager
async def worker_parts(settings: Settings) -> AsyncIterator[WorkerParts]:
    """Everything a worker needs, open; closed in the opposite order."""
    from app.provider_keys.asking import OwnKeys
    from app.providers.world import World  # the HTTP client and the tokenizers, which nobody else needs

    async with AsyncExitStack() as stack:
        log, pool, vault = await _common(stack, settings, settings.helix_process_name)

        cabinet = Cabinet(pool)

        def forget(change: Change) -> None:
            if change.kind == "account":
                vault.forget(change.id)
                cabinet.forget(change.id)

        def forget_all() -> None:
            vault.forget_all()
            cabinet.forget_all()

        changes = Changes(settings.cache, on_change=forget, on_gap=forget_all)
        changes.start()
        stack.push_async_callback(changes.stop)
        providers = World(settings)
        stack.push_async_callback(providers.close)
        await providers.warm()
        answers = await _answers(stack, settings, settings.helix_process_name)
        standing = Watch(Shared(settings.cache, settings.helix_process_name))
        await standing.start()
        stack.push_async_callback(standing.stop)
        digests = settings.enable_cost_optimization
        own_keys = OwnKeys(providers, OwnCatalogues(settings, providers.catalogue), cabinet)
        yield WorkerParts(log, vault, providers, answers, _nearby(settings, answers), standing, pool, digests, own_keys)


async def preflight(settings: Settings) -> None:
    """What every process looks at before it begins. Exits with one line when a setting makes no sense, or when the log
    cannot be reached, does not keep what it acknowledges, or was made with another number of partitions."""
    try:
        _ring(settings)
        post_of(settings)
        load_tiers(settings.helix_tiers)
        load_pages(settings.helix_pages)
        AccessTokens(settings.jwt_secret_key.get_secret_value())
        named_issuers(settings)
        _embeds(settings, load_catalogue(settings))
        faults = await check_log(settings.log)
        if faults and not settings.helix_allow_unsafe_log:
            raise SystemExit("helix: REDIS_URL: " + "; ".join(faults))
        await agree(settings.log, settings.helix_partitions)
    except (RingRefused, SecretRefused, OtherCount, ValueError) as refused:
        raise SystemExit(f"helix: {refused}") from None
    except (RedisError, LogRefused, OSError) as gone:
        raise SystemExit(f"helix: REDIS_URL: the log cannot be reached: {gone}") from None


async def _common(stack: AsyncExitStack, settings: Settings, name: str) -> tuple[Log, Pool, Vault]:
    """The log, the pool, the vault."""
    log = await Log(settings.log, name=name, partitions=settings.helix_partitions).open()
    stack.push_async_callback(log.close)
    await log.declare()
    pool = await open_pool(settings.database, name=f"helix {name}", connections_max=settings.max_db_connections)
    stack.push_async_callback(pool.close)
    return log, pool, Vault(pool, _ring(settings))


async def _answers(stack: AsyncExitStack, settings: Settings, name: str) -> AnswerCache:
    """The kept answers; none are kept where the log server would have to hold them."""
    answers = await AnswerCache(settings.answers, name=name).open()
    stack.push_async_callback(answers.close)
    return answers


def _embeds(settings: Settings, catalogue: Catalogue) -> None:
    """Raises ValueError when the semantic cache is to compare with a model that there is not."""
    model = settings.helix_semantic_cache_model
    if settings.enable_semantic_cache and not any(offer.kind == "embedding" for offer in catalogue.find(model or "")):
        raise ValueError(f"HELIX_SEMANTIC_CACHE_MODEL names no embedding model that is offered: {model}")


def _nearby(settings: Settings, answers: AnswerCache) -> NearbyQuestions | None:
    """None where the semantic cache is off."""
    if not settings.enable_semantic_cache or settings.helix_semantic_cache_model is None:
        return None
    return NearbyQuestions(answers, settings.helix_semantic_cache_model)


def _ring(settings: Settings) -> KeyRing:
    return KeyRing.parse(settings.api_key_encryption_key.get_secret_value())
