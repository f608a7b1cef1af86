"""Where an account's data lies: one row for each table of the database, all of them.

One rule: a table is not done before it stands here; a test compares this with the schema. What the erasure deletes, what
it leaves and why, and what the export holds are all read from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OF_USER: Final = "user_id = $1"
OF_ACCOUNT: Final = "account = $1"


@dataclass(frozen=True, slots=True)
class Opening:
    """How a sealed column is opened: the kind it was sealed as, and the column that holds the id it was sealed under."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Place:
    table: str
    whose: str | None
    """A condition on its rows, $1 the account; None: it holds nothing of an account."""
    stays: str = ""
    """Why its rows outlive an erasure; empty: they go."""
    untold: str = ""
    """Why the export leaves it out; empty: it is in."""
    secret: tuple[str, ...] = ()
    """Columns that the export leaves out: digests of secrets, and what only we can read."""
    sealed: tuple[tuple[str, Opening], ...] = ()
    order: str = "created_at"
    """By which column the export sorts its rows, with the others of its key behind it."""


_BOOKS: Final = (
    "Books that tax law wants kept. The account's id in them leads to nobody once its row is gone, and the digests are"
    " keyed with its destroyed key."
)
_NOBODY: Final = "It holds nothing of an account."

PLACES: Final[tuple[Place, ...]] = (
    Place(
        "requests", OF_USER, secret=("partition", "entry_id"), sealed=(("answer", Opening("answer", "id")),), order="id"
    ),
    Place(
        "responses",
        OF_USER,
        sealed=(("kept", Opening("question", "id")), ("answer", Opening("answer", "id"))),
        order="id",
    ),
    Place(
        "conversation_messages",
        OF_USER,
        sealed=(("content", Opening("turn", "turn_id")),),
        order="conversation_id, created_at, event_id, position",
    ),
    Place("conversations", OF_USER, order="id"),
    Place("routing_policies", OF_USER, order="updated_at"),
    Place("provider_keys", OF_ACCOUNT, secret=("sealed",), order="provider"),
    Place("prompts", OF_USER, order="id"),
    Place("subscriptions", OF_USER, order="id"),
    Place(
        "budget_alerts", "budget_id IN (SELECT id FROM budgets WHERE account_id = $1)", order="budget_id, period_begin"
    ),
    Place("budgets", "(account_id = $1 OR subject = 'member:' || $1::uuid::text)", order="id"),
    Place("account_limits", "account_id = $1", order="account_id"),
    Place(
        "organization_invitations",
        "organization_id = $1",
        secret=("token_hash",),
        sealed=(("email", Opening("organization_invitations.email", "id")),),
        order="id",
    ),
    Place("organization_members", "(user_id = $1 OR organization_id = $1)", order="organization_id, user_id"),
    Place("api_keys", "(user_id = $1 OR organization_id = $1)", secret=("key_hash",), order="id"),
    Place("organizations", "id = $1", order="id"),
    Place(
        "refresh_tokens",
        "session_id IN (SELECT id FROM sessions WHERE user_id = $1)",
        untold="Digests of secrets.",
        order="session_id",
    ),
    Place("sessions", OF_USER, sealed=(("browser", Opening("sessions.browser", "id")),), order="created_at, id"),
    Place(
        "mailed_links",
        OF_USER,
        secret=("token_hash",),
        sealed=(("email", Opening("mailed_links.email", "user_id")),),
        order="expires_at",
    ),
    Place("consents", OF_USER, order="document, version"),
    Place("outside_identities", OF_USER, order="issuer, subject"),
    Place(
        "export_pieces",
        "export_id IN (SELECT id FROM exports WHERE account = $1)",
        untold="Earlier exports.",
        order="export_id",
    ),
    Place("retentions", OF_ACCOUNT, untold="How far the sweeper has come.", order="account"),
    Place("exports", OF_ACCOUNT, order="asked_at"),
    Place(
        "users",
        "id = $1",
        secret=("password_hash",),
        sealed=(("name", Opening("users.name", "id")),),
        order="id",
    ),
    Place(
        "unreadable",
        "position(convert_to($1::uuid::text, 'UTF8') in raw) > 0",
        untold="Entries of the log that nobody can read.",
    ),
    Place("usage", OF_USER, stays=_BOOKS, secret=("question_digest",), order="created_at, event_id"),
    Place("usage_adjustments", OF_USER, stays=_BOOKS, order="used_at, event_id"),
    Place(
        "audit",
        OF_ACCOUNT,
        stays="Who changed what must be provable for two years; rows hold ids alone, and none can be taken out of the chain.",
        secret=("hash",),
        order="partition, number",
    ),
    Place(
        "data_keys",
        OF_ACCOUNT,
        stays="A row without its key proves that the key is destroyed.",
        untold="Keys that only we use.",
    ),
    Place(
        "erasures",
        OF_ACCOUNT,
        stays="It is what keeps the account away, and holds the receipt.",
        secret=("restore_hash",),
        order="requested_at",
    ),
    Place(
        "erased_accounts",
        OF_ACCOUNT,
        stays="It is what keeps the account away.",
        untold="Written when there is nobody left to tell.",
    ),
    Place(
        "outbox",
        None,
        stays="Facts on their way to the log; gone within seconds, and without content.",
        untold="The audit log tells them.",
    ),
    Place(
        "archive",
        None,
        stays="The log, for ever. Content in it is sealed under keys that are destroyed; in clear are ids, models, counts,"
        " times and prices.",
        untold="The tables that are made from it are in.",
    ),
    Place(
        "mails",
        None,
        stays="Sealed, and gone once they are sent, at latest after two days.",
        untold="They have been sent to the person.",
    ),
    Place(
        "sign_ups",
        None,
        stays="Sealed, of somebody who is nobody yet, and gone when he has confirmed it or after a day.",
        untold="It is before there is an account.",
    ),
    Place("audit_heads", None, stays=_NOBODY, untold=_NOBODY),
    Place("checkpoints", None, stays=_NOBODY, untold=_NOBODY),
    Place("prices", None, stays=_NOBODY, untold=_NOBODY),
    Place("alembic_version", None, stays=_NOBODY, untold=_NOBODY),
)
"""Those that others refer to stand behind these."""

GO: Final = tuple(place for place in PLACES if place.whose is not None and not place.stays)
KEPT: Final = tuple(place for place in PLACES if place.whose is not None and place.stays)
TOLD: Final = tuple(place for place in PLACES if place.whose is not None and not place.untold)
