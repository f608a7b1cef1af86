"""Accounts that are to be erased, and those that are."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UPGRADE = """
-- No foreign key: the row outlives the account, and is what keeps it away.
CREATE TABLE erasures (
  account uuid PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('person', 'team')),
  requested_at timestamptz NOT NULL,
  requested_by text NOT NULL,  -- `key:<id>`, `person:<id>` or `operator`
  erase_at timestamptz NOT NULL,
  status_before text NOT NULL,  -- what it is again when it is taken back
  restore_hash text UNIQUE,  -- SHA-256 of the word that takes it back; null once it is too late
  erased_at timestamptz,
  receipt text,  -- signed
  cleared_at timestamptz,  -- when log server and cache held nothing of it any more
  CHECK ((erased_at IS NULL) = (receipt IS NULL)),
  CHECK (erased_at IS NULL OR restore_hash IS NULL)
);
CREATE INDEX idx_erasures_erase_at ON erasures (erase_at) WHERE cleared_at IS NULL;

CREATE TABLE erased_accounts (
  account uuid PRIMARY KEY,
  erased_at timestamptz NOT NULL,
  event_id uuid NOT NULL
);
CREATE INDEX idx_responses_user_id ON responses (user_id, id DESC);
"""

DOWNGRADE = """
DROP INDEX idx_responses_user_id;
DROP TABLE erased_accounts;
DROP TABLE erasures;
"""


def upgrade() -> None:
    _each(UPGRADE)


def downgrade() -> None:
    _each(DOWNGRADE)


def _each(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
