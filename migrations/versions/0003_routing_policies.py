"""What an account wants of the router. An ordinary row that belongs to its user, as keys do."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE routing_policies (
  user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
  policy jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
)
""")


def downgrade() -> None:
    op.execute("DROP TABLE routing_policies")
