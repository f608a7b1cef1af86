"""Mail over SendGrid's web API. One rule: what a retry cannot mend is told apart by the status alone."""

from __future__ import annotations

from email.utils import parseaddr
from typing import Final

import aiohttp

from app.mail.mail import Mail, NeverSent, NotSent

TOTAL_S_MAX: Final = 30.0
_LATER: Final = frozenset({401, 403, 408, 429})
"""Too many, too slow; and a key that was mistyped, which the operator will mend."""


class SendGrid:
    def __init__(self, key: str, base_url: str, sender: str) -> None:
        self._key = key
        self._url = f"{base_url.rstrip('/')}/v3/mail/send"
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Raises NotSent, NeverSent."""
        name, address = parseaddr(self._sender)
        body = {
            "personalizations": [{"to": [{"email": mail.to}]}],
            "from": {"email": address, "name": name} if name else {"email": address},
            "subject": mail.subject,
            "content": [{"type": "text/plain", "value": mail.text}],
            "custom_args": {"mail": mail.id},
            # A link of ours goes to who reads the mail, by nobody's roundabout way.
            "tracking_settings": {"click_tracking": {"enable": False}, "open_tracking": {"enable": False}},
        }
        timeout = aiohttp.ClientTimeout(total=TOTAL_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self._url, json=body, headers={"authorization": f"Bearer {self._key}"}, allow_redirects=False
                ) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            raise NotSent(f"SendGrid: {type(failed).__name__}") from None
        if status in (200, 202):
            return
        if 400 <= status < 500 and status not in _LATER:
            raise NeverSent(f"SendGrid answered {status}")
        raise NotSent(f"SendGrid answered {status}")
