"""What a key may be used for and from where, and the key that has taken its place.

The new columns are empty for the keys that there are, which means: as before.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """ALTER TABLE api_keys
        ADD COLUMN models text[] CHECK (models <> '{}'),  -- null: every model
        ADD COLUMN allowed_ips cidr[] CHECK (allowed_ips <> '{}'),  -- null: from everywhere
        ADD COLUMN counted_as uuid,  -- whose rate limit it shares; null: its own
        ADD COLUMN replaced_by uuid  -- the key that it was rotated to"""
    )


def downgrade() -> None:
    op.execute(
        """ALTER TABLE api_keys
        DROP COLUMN models, DROP COLUMN allowed_ips, DROP COLUMN counted_as, DROP COLUMN replaced_by"""
    )
