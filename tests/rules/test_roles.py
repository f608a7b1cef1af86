"""The matrix of role and action: whole, printed as it is, and never a way up."""

from __future__ import annotations

from typing import get_args

from app.up.directory import ROOT
from handlers.rules.roles import MATRIX, ROLES, Action, Role, may, may_give

PAGE = ROOT / "docs" / "roles.md"


def printed() -> str:
    """The table of docs/roles.md, as the data says it."""
    lines = [f"| action | what | scope | {' | '.join(ROLES)} |", f"|---|---|---|{'---|' * len(ROLES)}"]
    for action, right in MATRIX.items():
        marks = " | ".join("yes" if may(role, action) else "" for role in ROLES)
        lines.append(f"| `{action}` | {right.meaning} | `{right.scope}` | {marks} |")
    return "\n".join(lines) + "\n"


def test_every_action_stands_in_the_matrix() -> None:
    assert set(MATRIX) == set(get_args(Action))


def test_the_page_says_what_the_data_says() -> None:
    _, mark, said = PAGE.read_text().partition("<!-- printed from the data -->\n")
    assert mark
    assert said == printed()


def test_an_owner_may_everything_and_nobody_else_ends_the_account() -> None:
    assert all(may("owner", action) for action in MATRIX)
    for action in ("account.delete", "account.export", "ownership.transfer"):
        assert [role for role in ROLES if may(role, action)] == ["owner"]


def test_nobody_gives_a_role_that_can_do_what_he_cannot() -> None:
    for giver in ROLES:
        for given in ROLES:
            if may_give(giver, given):
                assert all(may(giver, action) for action in MATRIX if may(given, action))


def test_ownership_is_never_given_and_only_leads_give_roles() -> None:
    givers = {(giver, given) for giver in ROLES for given in ROLES if may_give(giver, given)}

    def pairs(*roles: Role) -> set[tuple[Role, Role]]:
        return {(role, given) for role in roles for given in ROLES if given != "owner"}

    assert givers == pairs("owner", "admin")
