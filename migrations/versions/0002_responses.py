"""Responses that are kept for their account: what was asked and what came of it, both sealed, and which went before."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE responses (
  id text PRIMARY KEY,  -- the id of the request that made it
  user_id uuid NOT NULL,
  previous text,  -- the request whose response this one goes on from
  status text NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled')),
  http_status integer NOT NULL,
  kept bytea,  -- what the client sent, sealed; null after deletion
  answer bytea,  -- sealed; null after deletion
  created_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL,
  deleted_at timestamptz,
  event_id uuid NOT NULL
)
""")


def downgrade() -> None:
    op.execute("DROP TABLE responses")
