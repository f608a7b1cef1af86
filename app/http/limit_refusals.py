"""What a client is told when a limit does not let it in: which limit, its value, and when it is over.

One rule: what a client can wait for has `Retry-After`; what it cannot has `x-should-retry: false`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from app.http.limit_headers import pace_headers
from app.http.refusals import Refused, retry_after
from app.limits.bounds import Bounds
from app.log.values import Left, Spent, TooFast
from events.completions import Wire
from handlers.rules.budgets import ACCOUNT, NANO, Period, end_of

NO_RETRY: Final = {"x-should-retry": "false"}

_NAMES: Final[dict[Period, str]] = {"day": "daily budget", "month": "monthly budget", "ever": "balance"}


def too_fast(bounds: Bounds, said: TooFast, wire: Wire) -> Refused:
    left = Left(said.left, said.whole_after_s)
    wait = f"try again in {said.retry_after_s:.1f} s"
    if said.pace < len(bounds.rates):
        rate = bounds.rates[said.pace]
        whose = "" if rate.whose == "account" else " of this key"
        told = pace_headers("requests", rate.most, left, wire)
        message = f"Rate limit{whose} of {rate.most} requests a minute reached; {wait}."
    else:
        most = bounds.limits.tokens_a_minute or 0
        told = pace_headers("tokens", most, left, wire)
        message = f"Rate limit of {most} tokens a minute reached; {wait}."
    headers = retry_after(said.retry_after_s) | {name.decode(): value.decode() for name, value in told}
    return Refused(429, "rate_limit_exceeded", message, headers=headers)


def day_over(bounds: Bounds, wire: Wire) -> Refused:
    now = datetime.now(UTC)
    midnight = end_of("day", now)
    assert midnight is not None  # days end
    most, left_s = bounds.limits.requests_a_day or 0, (midnight - now).total_seconds()
    told = pace_headers("requests", most, Left(0, left_s), wire)
    headers = NO_RETRY | retry_after(left_s) | {name.decode(): value.decode() for name, value in told}
    message = f"Limit of {most} requests a day reached; it is over at {_time(midnight)}."
    return Refused(429, "daily_limit_exceeded", message, headers=headers)


def too_many(open_requests: int) -> Refused:
    return Refused(
        429,
        "concurrency_limit_exceeded",
        f"{open_requests} requests are in flight, the most this account may have.",
        headers=retry_after(1.0),
    )


def spent(said: Spent, reserved_nanousd: int) -> Refused:
    """A budget is used up: 429, or 402 where it is a balance, which nothing but more money mends."""
    now = datetime.now(UTC)
    limit = getattr(said.purse, said.period) or 0
    over = end_of(said.period, now)
    held = f" and {_usd(said.held)} reserved by requests in flight" if said.held else ""
    message = (
        f"The {_NAMES[said.period]} of this {_whose(said.purse.subject)} is {_usd(limit)}, of which {_usd(said.spent)} "
        f"is spent{held}; this request may cost up to {_usd(reserved_nanousd)}. "
    )
    if over is None:
        return Refused(402, "insufficient_quota", message + "Fill it up, or set a lower `max_tokens`.")
    message += f"It begins anew at {_time(over)}; a lower `max_tokens` reserves less."
    waits = retry_after((over - now).total_seconds())
    return Refused(429, "billing_hard_limit_reached", message, headers=NO_RETRY | waits)


def unknown() -> Refused:
    """What is spent is not known and cannot be had: nothing is let in on credit."""
    return Refused(503, "budget_unavailable", "What has been spent cannot be looked up just now; try again.")


def _whose(subject: str) -> str:
    return subject if subject == ACCOUNT else subject.partition(":")[0]


def _usd(nanousd: int) -> str:
    whole, rest = divmod(nanousd, NANO)
    return f"${whole}.{f'{rest:09d}'.rstrip('0').ljust(2, '0')}"


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
