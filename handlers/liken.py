"""Look for an answer that the account has had to a question that means the same, for those who ask for that.

One rule: what cannot be compared, for whatever reason, is asked as usual. The call that makes the vector is the operator's
own expense: it is counted (`Nearby.made`) and no customer is charged for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from events.completions import Complete
from events.message import Envelope
from handlers.ports import Box, Nearby, Place, Ports, ProviderFailed, Question, Transcript
from handlers.rules.caching import SCOPE, Kept, read_kept
from handlers.rules.catalogue import Offer
from handlers.rules.likeness import Neighbour, nearest, packed, part
from handlers.rules.rating import Usage

EMBED_S_MAX: Final = 2.0
"""A vector that takes longer costs more patience than it may save."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """One question among its like."""

    group: Place
    vector: bytes
    found: tuple[Kept, Offer] | None = None
    """What was answered to the nearest, when it is near enough."""
    degree: float = 0.0
    """How near: the cosine."""


async def liken(ask: Complete, at: Envelope, ports: Ports, near: Nearby, box: Box, body: bytes) -> Likeness | None:
    """None when this question cannot be compared."""
    parted = part(at.account, ask, body)
    if parted is None or ask.cache_ttl_s is None:
        return None
    vector = await _vector(parted.words, at, ports, near)
    if vector is None:
        return None
    group = Place(at.account, SCOPE, box.digest(parted.group.encode()))
    found = nearest(vector, await near.neighbours(group, box))
    if found is None:
        return Likeness(group, vector)
    neighbour, degree = found

    def read(content: bytes) -> tuple[Kept, Offer]:
        return read_kept(content, ports.providers.catalogue)

    place = Place(at.account, SCOPE, neighbour.digest)
    kept = await ports.answers.peek(place, box, read, age_s_max=ask.cache_ttl_s)
    return Likeness(group, vector, kept, degree)


def remember(near: Nearby, likeness: Likeness, digest: str, box: Box, *, ttl_s: int) -> None:
    """From now on this question, whose answer has just been kept, may be found by its like."""
    near.note(likeness.group, Neighbour(digest, likeness.vector), box, ttl_s=ttl_s)


async def _vector(words: str, at: Envelope, ports: Ports, near: Nearby) -> bytes | None:
    offers = [offer for offer in ports.providers.catalogue.find(near.model) if offer.kind == "embedding"]
    if not offers:
        return None
    body = json.dumps({"model": near.model, "input": words, "encoding_format": "float"}).encode()
    heard = Transcript(frame=lambda piece: None)
    question = Question("embeddings", body, stream=False, include_usage=False, request=at.subject)
    try:
        await ports.providers.ask(offers[0], question, heard, deadline_s=EMBED_S_MAX)
        answer: dict[str, Any] = json.loads(heard.answer or b"{}")
        vector = packed(answer["data"][0]["embedding"])
    except (ProviderFailed, KeyError, IndexError, TypeError, ValueError):
        near.made(None)
        return None
    near.made(heard.usage or Usage(0, 0))
    return vector
