"""Which of a question's messages are new to its conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Said = TypeVar("Said", bound=Mapping[str, object])


def new_turns(messages: Sequence[Said]) -> Sequence[Said]:
    """The messages behind the last assistant's word: clients send the whole history each time, and what stands before
    was added when it was said. All of them when the assistant has not spoken yet."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].get("role") == "assistant":
            return messages[at + 1 :]
    return messages
