"""The three posts, each against a server that speaks the real wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from app.mail import Mail, NeverSent, NotSent
from app.mail.mailbox import Mailbox, kept_mails
from app.mail.sendgrid import SendGrid
from app.mail.smtp import Smtp

SENDER = "Helix <helix@example.org>"
MAIL = Mail("anna@example.org", "Grüße", "Two lines,\nthe second with ümlauts.\n")


@dataclass
class Inbox:
    """A mail server's own words: what it has got, and what it answers."""

    got: list[Envelope] = field(default_factory=list)
    answer: str = "250 OK"
    login: tuple[bytes, bytes] | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # its name
        if self.answer.startswith("250"):
            self.got.append(envelope)
        return self.answer

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login, data.password) == self.login)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def smtp_port(inbox: Inbox) -> AsyncIterator[int]:
    def talk() -> SMTP:
        return SMTP(inbox, authenticator=inbox.authenticate, auth_require_tls=False)

    server = await asyncio.get_running_loop().create_server(talk, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_smtp_brings_a_mail_as_it_was_written(inbox: Inbox, smtp_port: int) -> None:
    await Smtp(f"smtp://127.0.0.1:{smtp_port}", SENDER).send(MAIL)

    [got] = inbox.got
    assert got.mail_from == "helix@example.org"
    assert got.rcpt_tos == ["anna@example.org"]
    content = got.content
    assert isinstance(content, bytes)
    assert f"<{MAIL.id}@example.org>".encode() in content


async def test_smtp_says_who_it_is_where_a_user_is_named(inbox: Inbox, smtp_port: int) -> None:
    inbox.login = (b"us", b"pass word")

    await Smtp(f"smtp://us:pass%20word@127.0.0.1:{smtp_port}", SENDER).send(MAIL)
    with pytest.raises(NotSent):
        await Smtp(f"smtp://us:wrong@127.0.0.1:{smtp_port}", SENDER).send(MAIL)

    assert len(inbox.got) == 1


@pytest.mark.parametrize(("answer", "failure"), [("451 later", NotSent), ("550 no such user", NeverSent)])
async def test_an_smtp_refusal_is_for_now_or_for_ever(
    inbox: Inbox, smtp_port: int, answer: str, failure: type[Exception]
) -> None:
    inbox.answer = answer

    with pytest.raises(failure):
        await Smtp(f"smtp://127.0.0.1:{smtp_port}", SENDER).send(MAIL)


async def test_an_smtp_server_that_is_away_may_come_back() -> None:
    with pytest.raises(NotSent):
        await Smtp("smtp://127.0.0.1:1", SENDER).send(MAIL)


@pytest.mark.parametrize("url", ["imap://host", "smtp://", "host:25"])
def test_what_is_no_smtp_address_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="SMTP_URL looks like"):
        Smtp(url, SENDER)


@dataclass
class SendGridServer:
    url: str
    asked: list[tuple[str | None, Any]] = field(default_factory=list)
    status: int = 202


@pytest.fixture
async def sendgrid() -> AsyncIterator[SendGridServer]:
    async def take(request: web.Request) -> web.Response:
        server.asked.append((request.headers.get("authorization"), json.loads(await request.read())))
        return web.Response(status=server.status)

    app = web.Application()
    app.router.add_post("/v3/mail/send", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = SendGridServer(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    yield server
    await runner.cleanup()


async def test_sendgrid_is_told_the_mail_in_its_own_words(sendgrid: SendGridServer) -> None:
    await SendGrid("SG.key", sendgrid.url, SENDER).send(MAIL)

    [(authorization, body)] = sendgrid.asked
    assert authorization == "Bearer SG.key"
    assert body["personalizations"] == [{"to": [{"email": "anna@example.org"}]}]
    assert body["from"] == {"email": "helix@example.org", "name": "Helix"}
    assert (body["subject"], body["content"][0]["value"]) == (MAIL.subject, MAIL.text)
    assert body["tracking_settings"]["click_tracking"] == {"enable": False}


@pytest.mark.parametrize(("status", "failure"), [(500, NotSent), (429, NotSent), (401, NotSent), (400, NeverSent)])
async def test_a_refusal_of_sendgrid_is_for_now_or_for_ever(
    sendgrid: SendGridServer, status: int, failure: type[Exception]
) -> None:
    sendgrid.status = status

    with pytest.raises(failure):
        await SendGrid("SG.key", sendgrid.url, SENDER).send(MAIL)


async def test_the_mailbox_keeps_mails_newest_first(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "mails", SENDER)

    await box.send(MAIL)
    await asyncio.sleep(0.002)  # ids sort by the millisecond
    await box.send(Mail("bert@example.org", "Second", "Hello"))

    second, first = kept_mails(tmp_path / "mails")
    assert (second.number, second.to, second.subject) == (1, "bert@example.org", "Second")
    assert (first.to, first.subject, first.text) == (MAIL.to, MAIL.subject, MAIL.text)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "mails").iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("to", "subject"), [("a@b.example\nBcc: c@d.example", "x"), ("a@b.example", "x\r\nBcc: y"), ("anna", "x")]
)
def test_a_mail_with_a_broken_head_is_never_made(to: str, subject: str) -> None:
    with pytest.raises(ValueError, match="one printable line"):
        Mail(to, subject, "text")
