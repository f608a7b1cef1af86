"""Mails that wait to be sent. Address and words are sealed; a row leaves when its mail has."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE mails (
          id uuid PRIMARY KEY,
          sealed bytea,  -- null: there is nothing to send, and nobody outside may know
          sealed_by text NOT NULL,
          tries integer NOT NULL DEFAULT 0,
          next_try_at timestamptz NOT NULL DEFAULT now(),
          good_until timestamptz NOT NULL,
          created_at timestamptz NOT NULL DEFAULT now()
        )"""
    )
    op.execute("CREATE INDEX idx_mails_next_try_at ON mails (next_try_at)")


def downgrade() -> None:
    op.execute("DROP TABLE mails")
