"""What an owner lets a key of his make in a minute, beside the limit of the account."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE api_keys ADD COLUMN own_rate_limit integer CHECK (own_rate_limit > 0)")


def downgrade() -> None:
    op.execute("ALTER TABLE api_keys DROP COLUMN own_rate_limit")
