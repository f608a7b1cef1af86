"""The audit log: rows that the database itself keeps from being changed, for the two years that they must stay.

`append_only` refuses everybody, the tables' owner too. An owner can take the trigger away, and then the chain of hashes
shows what was done (docs/decisions/0027).
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE audit (
  partition smallint NOT NULL,
  number bigint NOT NULL,  -- 1, 2, 3 … in its partition
  entry_id text NOT NULL,  -- where it stands on the log
  event_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  account uuid NOT NULL,
  by text,  -- `key:<id>`, `person:<id>` or `operator`; null: nobody wrote it down
  action text NOT NULL,
  subject text NOT NULL,
  details text NOT NULL,  -- JSON; text, because what was hashed must come back byte for byte
  hash bytea NOT NULL,  -- SHA-256 over the hash of the row before and this row
  CONSTRAINT audit_pkey PRIMARY KEY (partition, number),
  CONSTRAINT audit_event_id_key UNIQUE (event_id)
);
CREATE INDEX idx_audit_account ON audit (account, number DESC);

CREATE TABLE audit_heads (
  partition smallint NOT NULL,
  number bigint NOT NULL,
  hash bytea NOT NULL,
  entry_id text NOT NULL,
  anchor_number bigint NOT NULL,  -- the last row that has gone, two years after it was written
  anchor_hash bytea NOT NULL,
  CONSTRAINT audit_heads_pkey PRIMARY KEY (partition)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION append_only();
"""

REFUSES = """
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.created_at < now() - interval '2 years' THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
"""


def upgrade() -> None:
    op.execute(REFUSES)
    for statement in UPGRADE.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE audit, audit_heads")
    op.execute("DROP FUNCTION append_only()")
