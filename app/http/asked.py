"""What a door is given and what it gives: a body as it came in, and what it asks for.

One rule: a door knows its own route; what it reads out of a body is all that the common road must know of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import orjson

from app.http.authentication import Headers
from app.http.dialect import Dialect
from app.http.refusals import Refused
from app.identity import Identity
from events.completions import Optimize, Wire
from handlers.rules.catalogue import Catalogue
from handlers.rules.policy import AccountPolicy, chain_of

DISGUISE: Final = "anthropic/"
"""What every model may be called with in front, see `known_model`."""

Kind = Literal["chat", "embedding"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A body that has come in, before anybody knows what it means."""

    account: str
    request: str
    """The id that it will have when it is accepted."""
    headers: Headers
    raw: bytes = field(repr=False)
    parsed: dict[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a door has read out of a body: all that the road must know of it."""

    dialect: Dialect
    model: str
    """As the client named it."""
    stream: bool
    """The client wants a stream."""
    question: bytes = field(repr=False)
    """The body for the worker, Helix's own fields taken out."""
    kind: Kind = "chat"
    """What the model must be."""
    include_usage: bool = False
    optimize: Optimize | None = None
    conversation: str | None = None
    forwarded: tuple[tuple[str, str], ...] = ()
    """The client's headers for a provider of the same wire."""
    previous: str | None = None
    kept: bytes | None = field(default=None, repr=False)
    """What is kept with the answer, see `Complete.kept`."""
    promised: Callable[[str], Awaitable[bytes]] | None = None
    """The client waits for nothing but this document about the request of that id."""
    in_pieces: bool = False
    """Have the worker stream although this client does not: others may follow."""
    stay: bool = False
    """Go on although the client leaves."""
    session: str | None = None
    """Whoever asks the same again in the same session within seconds means the same request."""


class Door(Protocol):
    """One route's own: what its body looks like."""

    endpoint: str

    @property
    def wire(self) -> Wire: ...

    async def read(self, arrived: Arrived) -> Asked:
        """What is asked. Raises Refused for a body that makes no sense."""
        ...


def without(fields: tuple[str, ...], arrived: Arrived) -> bytes:
    """The body without these fields; untouched when it has none of them."""
    if not any(name in arrived.parsed for name in fields):
        return arrived.raw
    return orjson.dumps({name: value for name, value in arrived.parsed.items() if name not in fields})


def known_model(catalogue: Catalogue, name: str, kind: Kind) -> str:
    """The name that the catalogue has it under. Raises Refused 404 when nobody offers it.

    A name may be dressed up for clients that only see Anthropic's: `anthropic/gpt-5` is `gpt-5` where Anthropic itself
    has nothing so called.
    """
    for told in (name, name.removeprefix(DISGUISE)):
        if any(offer.kind == kind for offer in catalogue.find(told)):
            return told
    raise _no_model(name)


def chosen_model(catalogue: Catalogue, identity: Identity, name: str, kind: Kind) -> str:
    """The name that the account's policy or the catalogue has it under. Raises Refused 404 when nobody offers it, and
    when the key may not ask for it: for all that it stands for, fallbacks included."""
    told = _found(catalogue, identity.policy, name, kind)
    if identity.models is not None:
        asked = offered_to(catalogue, chain_of(identity.policy, told))
        if not asked <= offered_to(catalogue, identity.models):
            raise _no_model(name)
    return told


def offered_to(catalogue: Catalogue, models: Iterable[str]) -> frozenset[str]:
    """The ids of all offers that these names stand for."""
    return frozenset(offer.id for name in models for offer in catalogue.find(name))


def _found(catalogue: Catalogue, policy: AccountPolicy | None, name: str, kind: Kind) -> str:
    if policy is not None:
        for told in (name, name.removeprefix(DISGUISE)):
            chain = chain_of(policy, told) if told in policy.aliases or told in policy.fallbacks else ()
            if any(offer.kind == kind for each in chain for offer in catalogue.find(each)):
                return told
    return known_model(catalogue, name, kind)


def _no_model(name: str) -> Refused:
    return Refused(
        404,
        "model_not_found",
        f"The model `{name[:100]}` does not exist or you do not have access to it.",
        param="model",
    )
