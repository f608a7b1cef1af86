"""Mail over any SMTP server. One rule: a password goes over TLS, or to this very machine.

`smtps://user:password@host:465` is TLS from the first byte, `smtp://user:password@host:587` becomes TLS by STARTTLS; without a
user, STARTTLS is used where the server offers it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.mail.mail import Mail, NeverSent, NotSent, written

TOTAL_S_MAX: Final = 30.0
_PERMANENT: Final = 500
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Smtp:
    def __init__(self, url: str, sender: str) -> None:
        """Raises ValueError when this is no such address; the message never repeats it."""
        at = urlsplit(url)
        if at.scheme not in ("smtp", "smtps") or not at.hostname:
            raise ValueError("SMTP_URL looks like smtp://host:587 or smtps://user:password@host:465")
        self._host = at.hostname
        self._tls = at.scheme == "smtps"
        self._port = at.port or (465 if self._tls else 587)
        self._user = unquote(at.username) if at.username else None
        self._password = unquote(at.password) if at.password else None
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Raises NotSent, NeverSent."""
        must_be_tls = self._user is not None and self._host not in _HERE
        try:
            await aiosmtplib.send(
                written(mail, self._sender),
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password,
                use_tls=self._tls,
                start_tls=None if self._tls else True if must_be_tls else None,
                timeout=TOTAL_S_MAX,
            )
        except aiosmtplib.SMTPRecipientsRefused as refused:
            code = max((each.code for each in refused.recipients), default=0)
            raise _failed(code, "SMTPRecipientsRefused") from None
        except aiosmtplib.SMTPAuthenticationError:
            raise NotSent("the SMTP server refuses user or password") from None
        except aiosmtplib.SMTPResponseException as refused:
            raise _failed(refused.code, type(refused).__name__) from None
        except (aiosmtplib.SMTPException, OSError) as failed:
            raise NotSent(f"SMTP: {type(failed).__name__}") from None


def _failed(code: int, kind: str) -> NotSent | NeverSent:
    why = f"SMTP: {kind} {code}"
    return NeverSent(why) if code >= _PERMANENT else NotSent(why)
