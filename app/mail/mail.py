"""A mail, and what takes it away. One rule: a mail is plain text to one address, and no word of it is ever logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Protocol

from app.ids import new_id


class NotSent(Exception):
    """It did not go out now; the same may succeed later. The message says why, without the mail's words."""


class NeverSent(Exception):
    """The post will not take this mail, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Mail:
    """Raises ValueError for an address or subject that would break the head of a mail."""

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    id: str = field(default_factory=new_id)
    """The same at every try, so that a mailbox can tell a mail that came twice."""

    def __post_init__(self) -> None:
        if (
            "@" not in self.to
            or not self.to.isprintable()
            or not self.subject.isprintable()
            or parseaddr(self.to)[1] != self.to
        ):
            raise ValueError("an address and a subject are one printable line each")


class Post(Protocol):
    """One way of sending mail."""

    async def send(self, mail: Mail) -> None:
        """Returns when somebody else has taken it over. Raises NotSent, NeverSent."""
        ...


def written(mail: Mail, sender: str) -> EmailMessage:
    """The mail as servers pass it on (RFC 5322)."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{mail.id}@{parseaddr(sender)[1].partition('@')[2] or 'localhost'}>"
    message["Auto-Submitted"] = "auto-generated"  # so that nobody's holiday answers it
    message.set_content(mail.text)
    return message
