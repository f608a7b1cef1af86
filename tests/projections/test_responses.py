"""A kept response has one place; once it is deleted nothing fills that place again."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.ids import new_id
from events.completions import CompletionFinished
from events.message import Envelope
from events.responses import ResponseDeleted
from projections import requests, responses
from projections.projection import Seen
from tests.projections import ALICE, BOB, NOON, SEALED, finished


def kept(*, previous: str | None = None) -> Envelope:
    said = finished(ALICE)
    assert isinstance(said.body, CompletionFinished)
    update = {"wire": "responses", "kept": SEALED, "previous": previous}
    return said.model_copy(update={"body": said.body.model_copy(update=update)})


def deleted(response: Envelope, account: str = ALICE) -> Envelope:
    later = NOON + timedelta(minutes=1)
    return Envelope.begin(ResponseDeleted(), id=new_id(), at=later, account=account, subject=response.subject)


async def applied(database: AsyncEngine, *batch: Envelope) -> None:
    async with database.begin() as connection:
        seen = [Seen(0, f"{number}-0", said.encode()) for number, said in enumerate(batch, 1)]
        for projection in (requests.REQUESTS, responses.RESPONSES):
            wanted = [one for one in seen if projection.wants and one.envelope.type in projection.wants]
            await projection.apply(connection, wanted)


async def row(database: AsyncEngine, response: Envelope) -> tuple[bool, bool, bool]:
    """Whether question, answer and time of deletion are there."""
    async with database.connect() as connection:
        asked = "SELECT kept IS NOT NULL, answer IS NOT NULL, deleted_at IS NOT NULL FROM responses WHERE id = :id"
        found = (await connection.execute(text(asked), {"id": response.subject})).one()
    return found[0], found[1], found[2]


async def test_the_answer_of_a_kept_response_is_found_with_its_request_and_lies_in_one_place(
    database: AsyncEngine,
) -> None:
    response, other = kept(), finished(ALICE)
    await applied(database, response, other)
    async with database.connect() as connection:
        for said in (response, other):
            found = await requests.find(connection, ALICE, said.subject)
            assert found is not None and found.answer == b"sealed by the vault"
        stored = await connection.execute(
            text("SELECT length(answer) FROM requests WHERE id = :id"), {"id": response.subject}
        )
        assert stored.scalar_one() == 0
        assert (await connection.execute(text("SELECT count(*) FROM responses"))).scalar_one() == 1


async def test_a_deleted_response_stays_empty_whatever_is_delivered_again(database: AsyncEngine) -> None:
    response = kept()
    await applied(database, response, deleted(response))
    await applied(database, response)
    assert await row(database, response) == (False, False, True)
    async with database.connect() as connection:
        found = await requests.find(connection, ALICE, response.subject)
        assert found is not None and found.answer == b""


async def test_nobody_deletes_anothers_response(database: AsyncEngine) -> None:
    response = kept()
    await applied(database, response)
    await applied(database, deleted(response, BOB))
    assert await row(database, response) == (True, True, False)


async def test_a_chain_is_read_at_once_and_ends_where_one_is_gone(database: AsyncEngine) -> None:
    first = kept()
    second = kept(previous=first.subject)
    third = kept(previous=second.subject)
    await applied(database, first, second, third)

    async def chain(account: str, most: int = 10) -> list[str]:
        async with database.connect() as connection:
            return [one.id for one in await responses.chain(connection, account, third.subject, most=most)]

    assert await chain(ALICE) == [third.subject, second.subject, first.subject]
    assert await chain(ALICE, most=2) == [third.subject, second.subject]
    assert await chain(BOB) == []
    await applied(database, deleted(second))
    assert await chain(ALICE) == [third.subject]
