"""Every message by its name on the wire, and the way from its older shapes to today's.

To add an event: its class and a row here. To give one a new shape: raise its `version`, add one function to UPCASTS
under (type, old version), and a golden file under `tests/golden/` that is never made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pydantic_core

from events.accounts import KeyChanged, KeyCreated, KeyRevoked, RoutingChanged, UserCreated
from events.audit import OperatorActed, RightRefused
from events.billing import UsageAdjusted
from events.completions import Complete, CompletionCancelled, CompletionFailed, CompletionFinished
from events.consent import ConsentGiven
from events.erasure import AccountErased, ErasureRequested, ErasureWithdrawn
from events.export import ExportRequested
from events.limits import BalanceCredited, BudgetReached, BudgetRemoved, BudgetSet, LimitsSet
from events.message import Envelope, Message
from events.people import (
    EmailChanged,
    PasswordChanged,
    ProfileChanged,
    SessionEnded,
    SessionStarted,
    SignInLinked,
    UserResumed,
    UserSuspended,
)
from events.provider_keys import ProviderKeyRemoved, ProviderKeyStored
from events.responses import ResponseDeleted
from events.retention import ContentExpired
from events.teams import (
    InvitationMade,
    InvitationWithdrawn,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    OrganizationChanged,
    OrganizationCreated,
    OwnershipTransferred,
)

CATALOG: dict[str, type[Message]] = {
    kind.type: kind
    for kind in (
        Complete,
        CompletionFinished,
        CompletionFailed,
        CompletionCancelled,
        UserCreated,
        KeyCreated,
        KeyChanged,
        KeyRevoked,
        RoutingChanged,
        OrganizationCreated,
        OrganizationChanged,
        MemberJoined,
        MemberChanged,
        MemberLeft,
        OwnershipTransferred,
        InvitationMade,
        InvitationWithdrawn,
        ProviderKeyStored,
        ProviderKeyRemoved,
        OperatorActed,
        RightRefused,
        UsageAdjusted,
        BudgetSet,
        BudgetRemoved,
        BudgetReached,
        BalanceCredited,
        LimitsSet,
        ResponseDeleted,
        SessionStarted,
        SessionEnded,
        PasswordChanged,
        EmailChanged,
        ProfileChanged,
        SignInLinked,
        UserSuspended,
        UserResumed,
        ErasureRequested,
        ErasureWithdrawn,
        AccountErased,
        ExportRequested,
        ContentExpired,
        ConsentGiven,
    )
}

Body = dict[str, Any]

Upcasts = Mapping[tuple[str, int], Callable[[Body], Body]]


def _as_it_was(body: Body) -> Body:
    """The new shape only has more fields, each with a default that means: as before."""
    return body


UPCASTS: Upcasts = {
    (kind.type, 1): _as_it_was for kind in (Complete, CompletionFinished, CompletionFailed, CompletionCancelled)
}
"""(type, version) → the body one version on. Pure; applied one after the other until the body is of today."""


class Unreadable(ValueError):
    """The bytes are no message of ours: not JSON, or out of shape. Or, see below, not yet."""


class FromTheFuture(Unreadable):
    """A newer process said this; one like it will read it. A later version, a type, a field or a word of a closed set that
    this process does not know: what a field means that we do not know, nobody guesses."""

    def __init__(self, type: str, reason: str) -> None:
        super().__init__(reason)
        self.type = type


_UNKNOWN: Final = frozenset(("extra_forbidden", "literal_error"))
"""Faults of a body that is whole but for what its reader does not know."""


def read(raw: bytes, *, catalog: Mapping[str, type[Message]] = CATALOG, upcasts: Upcasts = UPCASTS) -> Envelope:
    """One entry of the log → its envelope, in today's shape.

    Raises Unreadable, with the reason; the reason never repeats the body.
    """
    try:
        said = pydantic_core.from_json(raw)
        kind, version, body = catalog.get(said["type"]), said["version"], said["body"]
        if kind is None:
            newer = Envelope.model_validate(said | {"body": Message()})
            raise FromTheFuture(newer.type, "a type that this process does not know")
        if version > kind.version:
            raise FromTheFuture(kind.type, f"{kind.type} of version {version}, this process knows {kind.version}")
        while version < kind.version:
            body = upcasts[kind.type, version](body)
            version += 1
        said["version"], said["body"] = version, kind.model_validate(body)
        return Envelope.model_validate(said)
    except pydantic_core.ValidationError as refused:
        faults = refused.errors(include_input=False)
        reason = "; ".join(map(_fault, faults))
        if kind is not None and _UNKNOWN.issuperset(fault["type"] for fault in faults):
            raise FromTheFuture(kind.type, reason) from None
        raise Unreadable(reason) from None
    except Unreadable:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as refused:
        raise Unreadable(type(refused).__name__) from None


def _fault(error: pydantic_core.ErrorDetails) -> str:
    """Where and what. The name of a field that is none of ours came with the body, so it is left out."""
    place = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
    return f"{'.'.join(map(str, place))}: {error['type']}"
