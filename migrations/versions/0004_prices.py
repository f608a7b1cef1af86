"""The price list by version, what each usage row was reckoned from, and the entries that adjust it.

The new columns have defaults, so that a projector of the former release goes on beside this one. What the old rows lack
is taken from `requests`, as a replay would make it from the events.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE = """
-- One row for each price there ever was. Only `seen_at` changes.
CREATE TABLE prices (
  version text PRIMARY KEY,  -- made of the content: the same content is the same version
  provider text NOT NULL,
  model text NOT NULL,
  as_of text NOT NULL,  -- the day of the price sheet, or the release of the catalogue
  source text NOT NULL,
  valid_from timestamptz NOT NULL DEFAULT now(),  -- when it was first seen here
  seen_at timestamptz,  -- when it was last found to hold; null: requests have only been rated anew with it
  input_usd_per_million numeric(20, 9) NOT NULL,
  output_usd_per_million numeric(20, 9) NOT NULL,
  cached_input_usd_per_million numeric(20, 9) NOT NULL,
  cache_write_usd_per_million numeric(20, 9) NOT NULL,
  content jsonb NOT NULL,  -- everything that is charged, in nano-dollars
  digest text NOT NULL  -- SHA-256 of provider, model and content
);
CREATE INDEX idx_prices_model ON prices (provider, model, valid_from);

ALTER TABLE usage
  ADD COLUMN cached_input_tokens bigint NOT NULL DEFAULT 0,
  ADD COLUMN cache_write_tokens bigint NOT NULL DEFAULT 0,
  ADD COLUMN metered jsonb,
  ADD COLUMN price_version text,
  ADD COLUMN price_as_of text,
  ADD COLUMN saved_usd numeric(20, 9) NOT NULL DEFAULT 0,
  ADD COLUMN question_digest text;
UPDATE usage SET
  cached_input_tokens = requests.cached_input_tokens,
  cache_write_tokens = requests.cache_write_tokens,
  price_as_of = requests.price_as_of
FROM requests WHERE requests.id = usage.request_id;

-- What a request costs is its usage row and every entry in here that adjusts it.
CREATE TABLE usage_adjustments (
  usage_event_id uuid NOT NULL,
  follows uuid NOT NULL,  -- the entry it adjusts: the usage row's event, or the adjustment before this one
  event_id uuid NOT NULL,
  request_id text NOT NULL,
  user_id uuid NOT NULL,
  api_key_id uuid NOT NULL,
  provider text NOT NULL,
  model text NOT NULL,
  price_version text NOT NULL,
  price_as_of text NOT NULL,
  amount_usd numeric(20, 9) NOT NULL,  -- to be added; below zero where too much was charged
  cost_usd numeric(20, 9) NOT NULL,  -- what the request costs from now on
  used_at timestamptz NOT NULL,  -- created_at of the usage row
  created_at timestamptz NOT NULL,
  CONSTRAINT usage_adjustments_pkey PRIMARY KEY (usage_event_id, follows),
  CONSTRAINT usage_adjustments_cost_usd_check CHECK (cost_usd >= 0)
);
CREATE INDEX idx_usage_adjustments_user_id ON usage_adjustments (user_id, used_at);
CREATE INDEX idx_usage_adjustments_used_at ON usage_adjustments (used_at);
"""

DOWNGRADE = """
DROP TABLE usage_adjustments;
ALTER TABLE usage
  DROP COLUMN cached_input_tokens,
  DROP COLUMN cache_write_tokens,
  DROP COLUMN metered,
  DROP COLUMN price_version,
  DROP COLUMN price_as_of,
  DROP COLUMN saved_usd,
  DROP COLUMN question_digest;
DROP TABLE prices;
"""


def upgrade() -> None:
    _each(UPGRADE)


def downgrade() -> None:
    _each(DOWNGRADE)


def _each(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
