"""Whose pages in browsers a key may be used by."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE api_keys ADD COLUMN allowed_origins text[] CHECK (allowed_origins <> '{}')")


def downgrade() -> None:
    op.execute("ALTER TABLE api_keys DROP COLUMN allowed_origins")
