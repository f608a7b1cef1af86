"""How far each account's old content has been looked through."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE retentions (
          account uuid PRIMARY KEY,
          content_before timestamptz,  -- null: its tier keeps everything
          requests_before timestamptz NOT NULL
        )"""
    )


def downgrade() -> None:
    op.execute("DROP TABLE retentions")
