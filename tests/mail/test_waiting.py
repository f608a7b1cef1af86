"""Mails that wait: put in by a transaction, sealed, sent at least once, given up in the end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.database import Connection
from app.key_ring import KeyRing
from app.mail import Mail, Mails, NeverSent, NotSent, send_always
from app.mail.waiting import send

MAIL = Mail("anna@example.org", "Your link", "canary-reset-link")


class Fake:
    """Takes what it is given, after `failures`."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.got: list[Mail] = []
        self.came = asyncio.Event()

    async def send(self, mail: Mail) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.got.append(mail)
        self.came.set()


@pytest.fixture
def mails() -> Mails:
    return Mails(KeyRing.parse(secrets.token_hex(32)), True)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def due_now(connection: Connection) -> None:
    await connection.execute("UPDATE mails SET next_try_at = now()")


async def left(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM mails")
    return count


async def test_a_mail_is_sent_once_its_transaction_has_committed(
    database_url: str, connection: Connection, mails: Mails
) -> None:
    post = Fake()
    sending = asyncio.create_task(send_always(database_url, mails.ring, post))
    try:
        async with connection.transaction():
            await mails.put(connection, MAIL)
        await asyncio.wait_for(post.came.wait(), 20)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    assert post.got == [MAIL]


async def test_what_is_rolled_back_is_never_sent(connection: Connection, mails: Mails) -> None:
    rolled_back = connection.transaction()
    await rolled_back.start()
    await mails.put(connection, MAIL)
    await rolled_back.rollback()

    assert await send(connection, mails.ring, Fake()) == 0


async def test_neither_address_nor_words_lie_in_the_table_in_clear(connection: Connection, mails: Mails) -> None:
    await mails.put(connection, MAIL)

    row = await connection.fetchval("SELECT sealed FROM mails")

    assert b"anna" not in row and b"canary" not in row


async def test_what_did_not_go_out_is_tried_again_under_the_same_id(connection: Connection, mails: Mails) -> None:
    post = Fake(NotSent("away"))
    await mails.put(connection, MAIL)

    await send(connection, mails.ring, post)
    before_its_time = await send(connection, mails.ring, post)
    await due_now(connection)
    await send(connection, mails.ring, post)

    assert before_its_time == 0
    assert [mail.id for mail in post.got] == [MAIL.id]
    assert await left(connection) == 0


@pytest.mark.parametrize("why", ["refused", "too old", "another key"])
async def test_a_mail_that_cannot_be_sent_is_given_up_with_a_line(
    connection: Connection, mails: Mails, why: str
) -> None:
    post = Fake(NeverSent("550")) if why == "refused" else Fake()
    await mails.put(connection, MAIL, timedelta(seconds=-1) if why == "too old" else timedelta(hours=1))

    with capture_logs() as said:
        await send(connection, KeyRing.parse(secrets.token_hex(32)) if why == "another key" else mails.ring, post)

    assert [line["event"] for line in said] == ["mail_given_up"]
    assert "anna" not in repr(said) and "canary" not in repr(said)
    assert (post.got, await left(connection)) == ([], 0)


async def test_what_was_put_in_for_nobody_is_not_sent(connection: Connection, mails: Mails) -> None:
    post = Fake()
    await mails.put_nothing(connection)

    assert await send(connection, mails.ring, post) == 1
    assert (post.got, await left(connection)) == ([], 0)


async def test_two_senders_never_take_one_mail_at_once(database_url: str, connection: Connection, mails: Mails) -> None:
    for _ in range(30):
        await mails.put(connection, Mail("anna@example.org", "x", "y"))
    post = Fake()
    other = await asyncpg.connect(database_url)
    try:
        taken = await asyncio.gather(send(connection, mails.ring, post), send(other, mails.ring, post))
    finally:
        await other.close()

    assert sum(taken) == len({mail.id for mail in post.got}) == len(post.got)
