"""Exports of what an account holds: how they stand, and their sealed pieces."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE exports (
  id uuid PRIMARY KEY,
  account uuid NOT NULL,
  asked_by text NOT NULL,
  status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'ready', 'failed')),
  asked_at timestamptz NOT NULL DEFAULT now(),
  tries integer NOT NULL DEFAULT 0,
  lease_until timestamptz,  -- whoever makes it renews this
  made_in integer,  -- the try whose pieces are the file
  ready_at timestamptz,
  bytes bigint,
  sha256 text,
  expires_at timestamptz NOT NULL
);
CREATE INDEX idx_exports_account ON exports (account, asked_at DESC);
CREATE INDEX idx_exports_open ON exports (asked_at) WHERE status IN ('queued', 'running');

CREATE TABLE export_pieces (
  export_id uuid NOT NULL REFERENCES exports (id) ON DELETE CASCADE,
  try integer NOT NULL,
  number integer NOT NULL,
  content bytea NOT NULL,  -- sealed
  PRIMARY KEY (export_id, try, number)
);
"""


def upgrade() -> None:
    for statement in UPGRADE.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE export_pieces, exports")
