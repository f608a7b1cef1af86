"""People sign in: what is mailed to them, their sessions, and who else vouches for them.

Secrets are kept as their SHA-256; names, addresses not yet shown to be somebody's, and what a browser calls itself are sealed.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = (
    "ALTER TABLE users ADD COLUMN name bytea",
    """CREATE TABLE sign_ups (
      token_hash bytea PRIMARY KEY,
      sealed bytea NOT NULL,  -- address and password hash
      sealed_by text NOT NULL,
      expires_at timestamptz NOT NULL
    )""",
    "CREATE INDEX idx_sign_ups_expires_at ON sign_ups (expires_at)",
    """CREATE TABLE mailed_links (
      token_hash bytea PRIMARY KEY,
      user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
      purpose text NOT NULL CHECK (purpose IN ('reset', 'address')),
      email bytea,  -- the new address
      expires_at timestamptz NOT NULL,
      CHECK ((purpose = 'address') = (email IS NOT NULL))
    )""",
    "CREATE INDEX idx_mailed_links_user_id ON mailed_links (user_id)",
    """CREATE TABLE sessions (
      id uuid PRIMARY KEY,
      user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
      how text NOT NULL,
      browser bytea,
      created_at timestamptz NOT NULL DEFAULT now(),
      refreshed_at timestamptz NOT NULL DEFAULT now(),
      expires_at timestamptz NOT NULL,
      ended_at timestamptz,
      ended_why text,
      CHECK ((ended_at IS NULL) = (ended_why IS NULL))
    )""",
    "CREATE INDEX idx_sessions_user_id ON sessions (user_id, refreshed_at DESC)",
    """CREATE TABLE refresh_tokens (
      token_hash bytea PRIMARY KEY,
      session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
      used_at timestamptz  -- one that comes again after this ends its session
    )""",
    "CREATE INDEX idx_refresh_tokens_session_id ON refresh_tokens (session_id)",
    """CREATE TABLE outside_identities (
      issuer text NOT NULL,
      subject text NOT NULL,
      user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
      provider text NOT NULL,  -- as our settings call the issuer
      created_at timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (issuer, subject)
    )""",
    "CREATE INDEX idx_outside_identities_user_id ON outside_identities (user_id)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE outside_identities, refresh_tokens, sessions, mailed_links, sign_ups")
    op.execute("ALTER TABLE users DROP COLUMN name")
