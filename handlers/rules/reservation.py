"""What a request may come to before it is asked: tokens for the pace, money for the budgets.

One rule: money is reserved for the most that a request can cost, as far as that is known at the door: the dearest model it
may be answered by, with all the output it may write. Three things are not known there, and may make it dearer: input
tokens above the estimate (BYTES_A_TOKEN), searches that the provider decides to make, and the output of a model whose bound
nobody has told us. What a request did cost is charged in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from events.completions import Metered
from events.message import NanoUsd
from handlers.rules.catalogue import Offer, Price
from handlers.rules.needs import attachments_in, output_limit
from handlers.rules.rating import STANDARD, Usage, rate

BYTES_A_TOKEN: Final = 3
"""Prose has four bytes a token, code about three, Chinese three bytes a character and one to two tokens: on the safe side
for nearly everything, and seldom twice of what is used."""

ATTACHMENT_TOKENS: Final = 2_000
"""One picture or page: above what providers count for the largest picture that they do not make smaller (1,600 to 1,850)."""

ATTACHED_BYTES_A_TOKEN: Final = 100
"""Of what is large and lies in the body as base64: a page of text in a PDF of some 50 kB has under 1,000 tokens, a minute of
sound of some 1 MB has 600 to 2,000."""

OUTPUT_TOKENS_EXPECTED: Final = 400
"""An ordinary answer, where the client sets no limit. For the pace alone, which is set right at the end."""

OUTPUT_TOKENS_UNBOUNDED: Final = 16_384
"""Of a model whose bound nobody has told us, where the client sets no limit either."""

CHOICES_MAX: Final = 128
"""OpenAI's own bound; who asks for more is refused there."""

_MARKS: Final = ("speed", "inference_geo")
"""Fields of a body by which what multiplies a price is asked for."""

Json = Mapping[str, Any]  # Any: a client's body, looked at and never trusted


@dataclass(frozen=True, slots=True)
class Size:
    """How much a body asks for."""

    input_tokens: int
    """Estimated."""
    output_tokens: int | None
    """The limit that the client sets on each choice."""
    choices: int
    service: str
    marks: tuple[str, ...]
    """What it asks for that a price may hang on."""
    writes_cache: bool
    """What it sends is to be kept in the provider's prompt cache, which may cost more."""


def size_of(body: Json, raw: bytes) -> Size:
    """`raw`: the body as the provider is sent it."""
    attached = attachments_in(body)
    tokens = max(0, len(raw) - sum(attached)) // BYTES_A_TOKEN + 1
    tokens += sum(max(ATTACHMENT_TOKENS, size // ATTACHED_BYTES_A_TOKEN) for size in attached)
    limit, choices, service = output_limit(body), body.get("n"), body.get("service_tier")
    return Size(
        input_tokens=tokens,
        output_tokens=None if limit is None else max(0, limit),
        choices=choices if isinstance(choices, int) and 1 <= choices <= CHOICES_MAX else 1,
        service=service if isinstance(service, str) else STANDARD,
        marks=tuple(word for name in _MARKS if isinstance(word := body.get(name), str)),
        writes_cache=b'"cache_control"' in raw,
    )


def tokens_expected(size: Size, most: int) -> int:
    """What the pace of tokens is charged at the door; never more than `most`, a whole minute's: what is larger than the
    limit is let in when nothing else is."""
    output = OUTPUT_TOKENS_EXPECTED if size.output_tokens is None else size.output_tokens * size.choices
    return min(most, size.input_tokens + output)


def cost_at_most(size: Size, offers: Iterable[Offer]) -> NanoUsd:
    """What the dearest of these offers would cost; 0 where none of them has a price."""
    # A provider may serve the ordinary way what was asked for in another.
    ways = [Metered(service=each, marks=size.marks, search_size="high") for each in {size.service, STANDARD}]
    return max((_cost(size, offer, offer.price, ways) for offer in offers if offer.price is not None), default=0)


def _cost(size: Size, offer: Offer, price: Price, ways: Iterable[Metered]) -> NanoUsd:
    inputs, output = min(size.input_tokens, offer.context_window or size.input_tokens), _output(size, offer)
    written = inputs if size.writes_cache else 0
    return max(rate(Usage(inputs, output, cache_write=written, metered=each), price) for each in ways)


def _output(size: Size, offer: Offer) -> int:
    if offer.kind == "embedding":
        return 0
    bound = offer.output_tokens_max
    if size.output_tokens is None:
        return (bound or OUTPUT_TOKENS_UNBOUNDED) * size.choices
    return min(size.output_tokens, bound or size.output_tokens) * size.choices
