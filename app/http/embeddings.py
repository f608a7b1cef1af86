"""The door of OpenAI's embeddings: texts, or texts as token ids, into vectors.

One rule: what is asked has at least one token, and no more inputs than OpenAI takes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from app.http.asked import Arrived, Asked, without
from app.http.chat import ChatDialect
from app.http.refusals import Refused
from app.http.shapes import Name, Shaped, shaped
from events.completions import Optimize, Wire

INPUTS_MAX: Final = 2048
"""OpenAI's own bound."""

TOKENS_MAX: Final = 300_000
"""Of all inputs together where they come as token ids: OpenAI's own bound."""

TEXT_TOKENS_MAX: Final = 65_536
"""Of one input; twice what the longest window of an embedding model holds."""

TOKEN_MAX: Final = 2**31 - 1

OWN_FIELDS: Final = ("optimize",)
"""Fields of the body that are Helix's own: no provider sees them."""

Token = Annotated[int, Field(ge=0, le=TOKEN_MAX)]
Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=TEXT_TOKENS_MAX, fail_fast=True)]
"""The first wrong one is enough: a fault for each of so many would take seconds to write down."""


class EmbeddingsBody(Shaped):
    """The body of OpenAI's embeddings."""

    model: Name
    """The id of a model whose `kind` is `embedding`."""
    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=INPUTS_MAX, fail_fast=True)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=INPUTS_MAX, fail_fast=True)]
    )
    """A text, texts, a text as token ids, or several of them."""
    encoding_format: Literal["float", "base64"] | None = None
    """`base64`: little-endian floats of 32 bits."""
    dimensions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    optimize: Optimize | None = None
    """Helix's own: what the router should prefer where it may choose."""


class EmbeddingsDialect(ChatDialect):
    """OpenAI's embeddings: never a stream."""

    wire: Wire = "embeddings"


class EmbeddingsDoor:
    """What comes in to be embedded."""

    endpoint = "/v1/embeddings"
    wire: ClassVar[Wire] = "embeddings"
    _dialect: Final = EmbeddingsDialect()

    async def read(self, arrived: Arrived) -> Asked:
        body = shaped(EmbeddingsBody, arrived.parsed)
        if isinstance(body.input, list) and sum(len(one) for one in body.input if isinstance(one, list)) > TOKENS_MAX:
            raise Refused(400, "array_above_max_length", f"At most {TOKENS_MAX} tokens together.", param="input")
        return Asked(
            dialect=self._dialect,
            model=body.model,
            kind="embedding",
            stream=False,
            question=without(OWN_FIELDS, arrived),
            optimize=body.optimize,
        )
