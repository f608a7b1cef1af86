"""What an account wants of the router: names of its own, fallbacks, whom to ask and whom never."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from events.completions import Optimize, Policy

NAMES_MAX: Final = 100
"""Aliases, and fallback chains, of one account: a table a person can read, and a few kilobytes with each key remembered."""

CHAIN_MAX: Final = 4
"""Models tried for one request, the first included: a client waits through no more (`failure.ATTEMPTS_MAX`)."""

PROVIDERS_MAX: Final = 50

CACHE_TTL_S_MAX: Final = 7 * 24 * 3600
"""The longest that the guide keeps anything in the cache."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
ProviderName = Annotated[str, Field(min_length=1, max_length=64)]


class AccountPolicy(BaseModel):
    """The account's own wishes, as it wrote them. All of it may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    aliases: Annotated[dict[Name, Name], Field(max_length=NAMES_MAX)] = Field(default_factory=dict)
    """A name of the account's own → the model it stands for. It may hide a model of that name."""
    fallbacks: Annotated[
        dict[Name, Annotated[tuple[Name, ...], Field(min_length=1, max_length=CHAIN_MAX - 1)]],
        Field(max_length=NAMES_MAX),
    ] = Field(default_factory=dict)
    """An alias or a model → the models, or aliases, that are tried after it, in this order."""
    only: Annotated[tuple[ProviderName, ...], Field(max_length=PROVIDERS_MAX)] = ()
    """Providers that may be asked; empty: all."""
    never: Annotated[tuple[ProviderName, ...], Field(max_length=PROVIDERS_MAX)] = ()
    """Providers that may not be asked."""
    optimize: Optimize | None = None
    """What the router prefers where a request does not say."""
    cache_ttl_s: Annotated[int, Field(ge=1, le=CACHE_TTL_S_MAX)] | None = None
    """Answer from the account's response cache for so long where a request does not say; left out: do not."""

    @model_validator(mode="after")
    def _alias_stands_for_a_model(self) -> Self:
        if chained := [name for name in self.aliases.values() if name in self.aliases]:
            raise ValueError(f"an alias stands for a model, not for another alias: {chained[0]}")
        return self

    def models(self) -> frozenset[str]:
        """Every model that it names, aliases taken away."""
        steps = {name for chain in self.fallbacks.values() for name in chain}
        return frozenset({*self.aliases.values(), *steps, *self.fallbacks} - self.aliases.keys())


def chain_of(account: AccountPolicy | None, model: str) -> tuple[str, ...]:
    """The models to try for what the client named, the first first; the name itself where the account says nothing."""
    if account is None:
        return (model,)
    first = account.aliases.get(model, model)
    then = account.fallbacks.get(model) or account.fallbacks.get(first) or ()
    return tuple(dict.fromkeys((first, *(account.aliases.get(name, name) for name in then))))


def resolve(account: AccountPolicy | None, model: str) -> Policy | None:
    """What the command carries of it, for this model; None where the account wants nothing."""
    chain = chain_of(account, model)
    if account is None or (chain == (model,) and not account.only and not account.never):
        return None
    return Policy(chain=chain, only=account.only, never=account.never)
