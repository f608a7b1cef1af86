"""A batch in stretches, for projections that forget what has been kept long enough.

One rule: what a fact expires is what stood before it on the log. So a batch is cut at each such fact, and a replay in large
batches leaves what small ones left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from events.message import Envelope
from events.retention import ContentExpired
from projections.projection import Seen

EXPIRES: Final = frozenset({ContentExpired.type})


def stretches(batch: Sequence[Seen]) -> Iterator[tuple[Sequence[Seen], tuple[Envelope, ContentExpired] | None]]:
    """(entries, the fact behind them); the last stretch has no fact."""
    begin = 0
    for at, seen in enumerate(batch):
        if isinstance(seen.envelope.body, ContentExpired):
            yield batch[begin:at], (seen.envelope, seen.envelope.body)
            begin = at + 1
    yield batch[begin:], None
