"""Mails that go nowhere: kept as files, to be read with `./helix mail`. For one machine, where nobody has a mail server.

One rule: a file is whole or not there, and only its owner reads it: links to new passwords stand in it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Final

from app.kept import private_directory, write_private
from app.mail.mail import Mail, NotSent, written

KEPT_MAX: Final = 500
"""The newest; nobody reads further back."""


@dataclass(frozen=True, slots=True)
class KeptMail:
    """`number` counts from 1, the newest."""

    number: int
    at: str
    to: str
    subject: str
    text: str


class Mailbox:
    def __init__(self, directory: Path, sender: str) -> None:
        self._directory = directory
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Raises NotSent when the disk takes nothing."""
        try:
            await asyncio.to_thread(self._keep, mail)
        except OSError as failed:
            raise NotSent(f"mailbox: {type(failed).__name__}") from None

    def _keep(self, mail: Mail) -> None:
        place = private_directory(self._directory)
        write_private(place / f"{mail.id}.eml", written(mail, self._sender).as_bytes().decode())
        for old in _newest_first(place)[KEPT_MAX:]:
            old.unlink(missing_ok=True)


def kept_mails(directory: Path) -> list[KeptMail]:
    """Newest first; none where there is no directory."""
    return [_read(number, file) for number, file in enumerate(_newest_first(directory), start=1)]


def _newest_first(directory: Path) -> list[Path]:
    """Their names are ids, which grow with time."""
    return sorted(directory.glob("*.eml"), reverse=True)


def _read(number: int, file: Path) -> KeptMail:
    message = message_from_bytes(file.read_bytes(), _class=EmailMessage, policy=default)
    return KeptMail(
        number,
        str(message["Date"]),
        str(message["To"]),
        str(message["Subject"]),
        str(message.get_content()).replace("\r\n", "\n"),
    )
