"""Corrections of what was charged. One rule: an entry that stands is never changed; another is added that sets it right."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime

from events.message import Event, NanoUsd


class UsageAdjusted(Event):
    """A request was rated anew, and costs something else from now on.

    Each adjustment names what it follows. Of two that follow the same entry the first on the log counts and the other is
    void, so that whoever repeats one, or makes another at the same time, adds nothing twice.
    """

    type: ClassVar[str] = "usage.adjusted"

    usage_event: str
    """The event that had ended the request."""
    used_at: AwareDatetime
    """When that was: the day whose books are set right."""
    follows: str
    """The event whose cost is adjusted: `usage_event`, or the adjustment of it before this one."""
    api_key_id: str
    provider: str
    model: str
    cost_before_nanousd: NanoUsd
    cost_nanousd: NanoUsd
    """What the request costs from now on; less what it cost before is the amount of this entry."""
    price_version: str
    """The price that it was rated with."""
    price_as_of: str
