"""What people have agreed to."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE consents (
          user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
          document text NOT NULL,
          version text NOT NULL,
          given_at timestamptz NOT NULL DEFAULT now(),
          PRIMARY KEY (user_id, document, version)
        )"""
    )


def downgrade() -> None:
    op.execute("DROP TABLE consents")
