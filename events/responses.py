"""Facts about responses that are kept for their account."""

from __future__ import annotations

from typing import ClassVar

from events.message import Event


class ResponseDeleted(Event):
    """Its account does not want a kept response any more. The subject is the request that made it; its content is to go
    from every read model, its metadata and its price stay."""

    type: ClassVar[str] = "response.deleted"
