"""Who may do what: the one matrix of role and action, as data.

One rule: what stands here is enforced in one place (`app.http.authentication`), and every route names its action in the
table of operations. A person in his own account is its owner. An action also needs a scope, which bounds a key whatever the
role of whoever holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from events.teams import Role as Role

Scope = Literal["chat", "agents", "prompts", "keys", "account"]

Action = Literal[
    "completions.ask",
    "models.read",
    "requests.read",
    "requests.write",
    "usage.read",
    "routing.read",
    "routing.write",
    "keys.read",
    "keys.write",
    "keys.manage",
    "provider_keys.read",
    "provider_keys.write",
    "limits.read",
    "limits.write",
    "account.read",
    "account.write",
    "account.export",
    "account.delete",
    "members.read",
    "members.write",
    "ownership.transfer",
    "audit.read",
    "self.read",
    "self.write",
]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_EVERYBODY: Final = frozenset[Role](ROLES)
_OWNER: Final = frozenset[Role](("owner",))
_LEADS: Final = frozenset[Role](("owner", "admin"))
_BUILDS: Final = frozenset[Role](("owner", "admin", "developer"))
_READS: Final = frozenset[Role](("owner", "admin", "developer", "viewer"))
_PAYS: Final = frozenset[Role](("owner", "admin", "billing"))


@dataclass(frozen=True, slots=True)
class Right:
    scope: Scope
    """What a key needs for it."""
    roles: frozenset[Role]
    meaning: str


MATRIX: Final[Mapping[Action, Right]] = {
    "completions.ask": Right("chat", _BUILDS, "Ask models, embed, count tokens."),
    "models.read": Right("chat", _EVERYBODY, "See models and how their providers stand."),
    "requests.read": Right("chat", _READS, "See requests, responses and conversations, their words included."),
    "requests.write": Right("chat", _BUILDS, "Cancel and delete requests and responses, forget kept answers."),
    "usage.read": Right("chat", _EVERYBODY, "See what was used, spent and saved."),
    "routing.read": Right("chat", _READS, "See the routing policy."),
    "routing.write": Right("chat", _LEADS, "Write the routing policy."),
    "keys.read": Right("keys", _BUILDS, "List the account's keys, without the keys themselves."),
    "keys.write": Right("keys", _BUILDS, "Make keys for oneself, change and revoke them."),
    "keys.manage": Right("keys", _LEADS, "Make the team's own keys; change and revoke those of others."),
    "provider_keys.read": Right(
        "account", _LEADS, "List the provider keys that the account has brought, not the keys."
    ),
    "provider_keys.write": Right("account", _LEADS, "Bring provider keys and take them away."),
    "limits.read": Right("chat", _EVERYBODY, "See limits and budgets."),
    "limits.write": Right("account", _PAYS, "Set budgets and alerts."),
    "account.read": Right("account", _EVERYBODY, "See the account: its name, tier and state."),
    "account.write": Right("account", _LEADS, "Rename the account, choose how long its content is kept."),
    "account.export": Right("account", _OWNER, "Export everything that the account holds."),
    "account.delete": Right("account", _OWNER, "Delete the account."),
    "members.read": Right("account", _EVERYBODY, "See members and their roles."),
    "members.write": Right("account", _LEADS, "Invite, change roles, remove members; never above one's own role."),
    "ownership.transfer": Right("account", _OWNER, "Hand the team to another member."),
    "audit.read": Right("account", _LEADS, "Read the audit log."),
    "self.read": Right("account", _EVERYBODY, "See oneself: one's own data, teams and sessions."),
    "self.write": Right("account", _EVERYBODY, "Change oneself; make a team, join one, leave it."),
}

SCOPE_OF: Final[Mapping[Action, Scope]] = {action: right.scope for action, right in MATRIX.items()}

_ACTIONS_OF: Final[Mapping[Role, frozenset[Action]]] = {
    role: frozenset(action for action, right in MATRIX.items() if role in right.roles) for role in ROLES
}


def may(role: Role, action: Action) -> bool:
    """Whether the role allows the action at all."""
    return action in _ACTIONS_OF[role]


def may_give(giver: Role, given: Role) -> bool:
    """Whether `giver` may hand out `given`, or take it away: never a right that he lacks, and never ownership, which is
    transferred."""
    return given != "owner" and may(giver, "members.write") and _ACTIONS_OF[given] <= _ACTIONS_OF[giver]
