"""The keys that customers bring for providers, and whose key a request was made with."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PROVIDER_KEYS = """
CREATE TABLE provider_keys (
  account uuid NOT NULL,
  provider text NOT NULL,
  version uuid NOT NULL,  -- of this key; what processes know it by
  sealed bytea NOT NULL,
  hint text NOT NULL,  -- its first and last four characters, at most
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account, provider)
)
"""


def upgrade() -> None:
    op.execute(PROVIDER_KEYS)
    op.execute("ALTER TABLE usage ADD COLUMN own_key boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE usage DROP COLUMN own_key")
    op.execute("DROP TABLE provider_keys")
