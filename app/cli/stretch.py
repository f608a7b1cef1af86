"""What commands over a stretch of time share: its two ends, money as text, and columns that stand below each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

From = Annotated[datetime, typer.Option("--from", formats=FORMATS, help="Requests that ended from this time on, UTC.")]
To = Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="And before this time; now, if left out.")]


def utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def usd(nanousd: int) -> str:
    """All nine places, exactly."""
    sign, (whole, rest) = "-" if nanousd < 0 else "", divmod(abs(nanousd), 10**9)
    return f"{sign}{whole}.{rest:09}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        rest = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join((first.ljust(widths[0]), *rest)))
    return "\n".join(lines)
