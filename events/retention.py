"""Facts about what has been kept long enough."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime

from events.message import Event


class ContentExpired(Event):
    """What the account said and was answered is older than its tier keeps it: whoever remembers it forgets it."""

    type: ClassVar[str] = "content.expired"

    before: AwareDatetime | None
    """Conversations whose last message, and answers whose end, lies before this; None: its tier keeps them."""
    requests_before: AwareDatetime
    """Requests that ended before this leave the list altogether."""
