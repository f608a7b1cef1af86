"""Which messages of a question a conversation has not had yet."""

from __future__ import annotations

import pytest

from handlers.rules.turns import new_turns


@pytest.mark.parametrize(
    ("history", "new"),
    [
        ("", ""),
        ("u", "u"),
        ("su", "su"),
        ("suau", "u"),
        ("suauau", "u"),
        ("suatt", "tt"),
        ("suau u", "u u"),
        ("sua", ""),
        ("a", ""),
    ],
)
def test_new_is_what_stands_behind_the_assistants_last_word(history: str, new: str) -> None:
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool", " ": "user"}
    messages = [{"role": roles[letter], "content": str(at)} for at, letter in enumerate(history)]

    assert list(new_turns(messages)) == messages[len(messages) - len(new) :]


def test_a_message_without_a_role_is_nobodys_and_new() -> None:
    assert list(new_turns([{"content": "?"}])) == [{"content": "?"}]
