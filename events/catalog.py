"""Every message by its name on the wire, and the way from its older shapes to today's.

To add an event: its class and a row here. To give one a new shape: raise its `version`, add one function to UPCASTS
under (type, old version), and a golden file under `tests/golden/` that is never made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic_core

from events.accounts import KeyCreated, KeyRevoked, UserCreated
from events.completions import Complete, CompletionCancelled, CompletionFailed, CompletionFinished
from events.message import Envelope, Message

CATALOG: dict[str, type[Message]] = {
    kind.type: kind
    for kind in (
        Complete,
        CompletionFinished,
        CompletionFailed,
        CompletionCancelled,
        UserCreated,
        KeyCreated,
        KeyRevoked,
    )
}

Body = dict[str, Any]

UPCASTS: dict[tuple[str, int], Callable[[Body], Body]] = {}
"""(type, version) → the body one version on. Pure; applied one after the other until the body is of today."""


class Unreadable(ValueError):
    """The bytes are no message of ours: not JSON, an unknown type, a version from the future, or a body out of shape."""


def read(raw: bytes) -> Envelope:
    """One entry of the log → its envelope, in today's shape.

    Raises Unreadable, with the reason; the reason never repeats the body.
    """
    try:
        said = pydantic_core.from_json(raw)
        kind = CATALOG[said["type"]]
        version, body = said["version"], said["body"]
        if version > kind.version:
            raise Unreadable(f"{kind.type} of version {version}, this process knows {kind.version}")
        while version < kind.version:
            body = UPCASTS[kind.type, version](body)
            version += 1
        said["version"], said["body"] = version, kind.model_validate(body)
        return Envelope.model_validate(said)
    except pydantic_core.ValidationError as refused:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in refused.errors(include_input=False))
        raise Unreadable(faults) from None
    except (ValueError, KeyError, TypeError) as refused:
        raise refused if isinstance(refused, Unreadable) else Unreadable(type(refused).__name__) from None
