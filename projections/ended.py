"""Events that end a completion, as projections take them from a batch of entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from events.completions import CompletionCancelled, CompletionEnded, CompletionFailed, CompletionFinished
from events.message import Envelope
from projections.projection import Seen

ENDS: Final = frozenset(kind.type for kind in (CompletionFinished, CompletionFailed, CompletionCancelled))


def ends(batch: Sequence[Seen]) -> Iterator[tuple[Seen, Envelope, CompletionEnded]]:
    for seen in batch:
        if isinstance(seen.envelope.body, CompletionEnded):
            yield seen, seen.envelope, seen.envelope.body
