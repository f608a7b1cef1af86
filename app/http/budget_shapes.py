"""What `/v1/budgets` and `/v1/limits` take and answer."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from events.completions import Tier
from handlers.rules.budgets import ALERTS, PERCENT_MAX, Period

ALERTS_MAX: Final = 10

Kind = Literal["hard", "soft"]


def _ascending(percent: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(percent)))


class BudgetPut(BaseModel):
    """A budget as it is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    limit_usd: Annotated[str, Field(pattern=r"^[0-9]{1,7}(\.[0-9]{1,9})?$")]
    """Dollars as text, such as `25.00`: money is no floating-point number."""
    alert_percent: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=1, le=PERCENT_MAX)], ...],
        Field(max_length=ALERTS_MAX),
        AfterValidator(_ascending),
    ] = ALERTS
    """Percentages of it that are told when they are reached, once in each period."""


class _View(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class BudgetView(_View):
    """A budget and how it stands."""

    id: str
    object: Literal["budget"] = "budget"
    subject: str
    """What it is for: `account`, `key:<id>` or `member:<id>`. A key that shares another's purse is named by that one."""
    period: Period
    """`ever` is a balance: prepaid, filled up by the operator, and with no end."""
    kind: Kind
    """`hard`: what could pass it is refused. `soft`: it is only told."""
    limit_usd: str
    spent_usd: str
    reserved_usd: str
    """What the requests in flight may cost at most."""
    left_usd: str
    alert_percent: list[int]
    reached_percent: list[int]
    period_ends_at: str | None
    """UTC; null: never."""


class BudgetList(_View):
    object: Literal["list"] = "list"
    data: list[BudgetView]


class BudgetRemovedView(_View):
    object: Literal["budget"] = "budget"
    deleted: bool
    """Whether there was one."""


class LimitsView(_View):
    """What this key may ask for. Null: no limit."""

    object: Literal["limits"] = "limits"
    tier: Tier
    requests_a_minute: int | None
    requests_a_day: int | None
    """From midnight to midnight, UTC."""
    requests_today: int | None
    """Made so far; null where the day has no limit."""
    tokens_a_minute: int | None
    concurrent: int | None
    """Requests in flight at one moment."""
    in_flight: int
    agents: int | None
    prompts: int | None
    conversations: int | None
    conversation_days: int | None
    """How long a conversation is kept after its last message."""
