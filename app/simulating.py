"""The requests of a stretch of time, read from Postgres and put to `handlers.rules.simulation`. Reads the replica where
there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import connected
from app.postgres import engine
from app.price_book import newest_prices
from app.providers.catalogue import known_prices, load_catalogue
from app.rerating import used as usage_of
from app.settings import Settings
from events.completions import Optimize
from handlers.rules.catalogue import Catalogue, Offer
from handlers.rules.rating import price_version
from handlers.rules.simulation import Elsewhere, Line, Simulation, Used, by_wish, on_model
from handlers.rules.standing import Speed
from projections.adjustments import Standing, standing
from projections.speeds import measured


class CannotSimulate(Exception):
    """What is asked makes no sense; the message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which requests, and where they should have gone: to one model or by one wish."""

    since: datetime
    until: datetime
    model: str | None = None
    optimize: Optimize | None = None
    email: str | None = None


async def simulate(settings: Settings, asked: Question) -> list[Line]:
    """A line for each model that has answered. Raises CannotSimulate, and ValueError for a file that makes no sense."""
    if (asked.model is None) == (asked.optimize is None):
        raise CannotSimulate("name either a model or a wish")
    replica = settings.database_replica_url
    url = replica.get_secret_value() if replica else settings.database
    account = await _account(settings, asked.email) if asked.email else None
    async with engine(url) as database, database.connect() as connection:
        elsewhere = await _elsewhere(settings, asked, connection)
        simulation = Simulation(elsewhere)
        async for page in standing(connection, since=asked.since, until=asked.until, account=account):
            for one in page:
                simulation.add(_used(one))
    return simulation.lines()


async def _elsewhere(settings: Settings, asked: Question, connection: AsyncConnection) -> Elsewhere:
    catalogue = load_catalogue(settings)
    if asked.model is not None:
        offers = catalogue.find(asked.model) or await _priced(settings, asked.model)
        if not offers:
            raise CannotSimulate(f"no price is known of the model {asked.model}")
        return on_model(offers)
    assert asked.optimize is not None
    if not catalogue.offers:
        raise CannotSimulate("there is no model to choose from: no provider's key is in this environment")
    return by_wish(catalogue, asked.optimize, await _speeds(connection, asked))


async def _priced(settings: Settings, name: str) -> tuple[Offer, ...]:
    """A model that this command's settings do not offer, as far as its price is known: in the catalogue, or to the
    workers. Its context window is not."""
    async with connected(settings.database) as connection:
        prices = await newest_prices(connection) | known_prices(settings)
    return Catalogue.of(
        Offer(provider, model, model, "openai", price, price_version=price_version(provider, model, price))
        for (provider, model), price in prices.items()
    ).find(name)


async def _speeds(connection: AsyncConnection, asked: Question) -> Mapping[str, Speed]:
    found = await measured(connection, since=asked.since, until=asked.until)
    return {f"{one.provider}/{one.model}": Speed(one.ttft_ms, one.ms_a_token) for one in found}


def _used(one: Standing) -> Used:
    return Used(
        one.provider,
        one.model,
        "embedding" if one.endpoint == "/v1/embeddings" else "chat",
        1,
        usage_of(one),
        one.input_tokens + one.output_tokens,
        one.cost_nanousd,
    )


async def _account(settings: Settings, whose: str) -> str:
    """By a user's address or a team's id."""
    async with connected(settings.database) as connection:
        found = await connection.fetchval(
            """SELECT id::text FROM users WHERE email = lower($1)
            UNION ALL SELECT id::text FROM organizations WHERE id::text = lower($1)""",
            whose,
        )
    if found is None:
        raise CannotSimulate(f"{whose} is no user and no team")
    return str(found)
