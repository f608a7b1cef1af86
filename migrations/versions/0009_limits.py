"""Limits and budgets: what an account may have instead of its tier's limits, what may be spent, and what was told of it.

None refers to `users`: an account may be a team.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE account_limits (
          account_id uuid PRIMARY KEY,
          limits jsonb NOT NULL,  -- name of a limit → a number, or null for none
          updated_at timestamptz NOT NULL DEFAULT now()
        )"""
    )
    op.execute(
        """CREATE TABLE budgets (
          id uuid PRIMARY KEY,
          account_id uuid NOT NULL,
          subject text NOT NULL,  -- account, key:<id>, member:<id>
          period text NOT NULL CHECK (period IN ('day', 'month', 'ever')),
          hard boolean NOT NULL,
          limit_usd numeric(20, 9) NOT NULL CHECK (limit_usd >= 0),
          alert_percent smallint[] NOT NULL,
          counts_from timestamptz NOT NULL DEFAULT now(),
          updated_at timestamptz NOT NULL DEFAULT now(),
          UNIQUE (account_id, subject, period, hard)
        )"""
    )
    op.execute(
        """CREATE TABLE budget_alerts (  -- what has been told: each once
          budget_id uuid NOT NULL REFERENCES budgets ON DELETE CASCADE,
          period_begin timestamptz NOT NULL,
          percent smallint NOT NULL,
          limit_usd numeric(20, 9) NOT NULL,
          PRIMARY KEY (budget_id, period_begin, percent, limit_usd)
        )"""
    )


def downgrade() -> None:
    op.execute("DROP TABLE budget_alerts, budgets, account_limits")
