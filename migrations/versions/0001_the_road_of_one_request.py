"""The first schema: identity and library, the read models, and what the projector itself must remember.

Read models and the projector's own tables have no foreign key to `users`: they are made anew from the log, which still
tells of accounts that have been erased since. The guide's schema with three corrections (docs: the contract): `usage`
has its partition column in its key, every time has a zone, and the messages of a conversation are rows.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IDENTITY = """
CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email varchar(255) NOT NULL UNIQUE,
  password_hash varchar(255),  -- null: made by the operator, no password yet
  tier varchar(20) NOT NULL DEFAULT 'free' CHECK (tier IN ('free', 'pro', 'team', 'enterprise')),
  status varchar(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_users_tier ON users (tier);

CREATE TABLE api_keys (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  key_hash varchar(255) NOT NULL UNIQUE,  -- SHA-256 of the key, in hex
  key_prefix varchar(20) NOT NULL,  -- shown to people
  name varchar(255),
  scopes text[],
  rate_limit_override integer CHECK (rate_limit_override > 0),  -- null: the tier's
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_api_keys_user_id ON api_keys (user_id, created_at DESC);

-- No foreign key: the row of a destroyed key stays as the proof that the content is gone.
CREATE TABLE data_keys (
  account uuid NOT NULL,
  number integer NOT NULL CHECK (number > 0),
  wrapped bytea,  -- null after destruction
  wrapped_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  destroyed_at timestamptz,
  PRIMARY KEY (account, number),
  CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

CREATE TABLE subscriptions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  stripe_subscription_id varchar(255) UNIQUE,
  stripe_customer_id varchar(255),
  tier varchar(20) NOT NULL,
  status varchar(20) NOT NULL,
  current_period_start timestamptz,
  current_period_end timestamptz,
  cancel_at_period_end boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_subscriptions_user_id ON subscriptions (user_id, created_at DESC);
CREATE INDEX idx_subscriptions_customer_id ON subscriptions (stripe_customer_id);
"""

LIBRARY = """
CREATE TABLE prompts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name varchar(255) NOT NULL,
  template text NOT NULL,
  tags text[],
  version integer NOT NULL DEFAULT 1,
  is_public boolean NOT NULL DEFAULT false,
  model_preference text,
  default_parameters jsonb,
  execution_count integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_prompts_user_id ON prompts (user_id, updated_at DESC);
CREATE INDEX idx_prompts_tags ON prompts USING gin (tags);
CREATE INDEX idx_prompts_public ON prompts (updated_at DESC) WHERE is_public;
"""

READ_MODELS = """
CREATE TABLE requests (
  id text NOT NULL,
  user_id uuid NOT NULL,
  api_key_id uuid NOT NULL,
  endpoint text NOT NULL,
  wire text NOT NULL,
  tier text NOT NULL,
  asked_model text NOT NULL,
  model text,
  provider text,
  stream boolean NOT NULL,
  status text NOT NULL,
  http_status integer NOT NULL,
  finish_reason text,
  why text,
  conversation_id text,
  input_tokens bigint NOT NULL,
  cached_input_tokens bigint NOT NULL,
  cache_write_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cost_usd numeric(20, 9) NOT NULL,
  price_as_of text,
  usage_source text NOT NULL,
  billable boolean NOT NULL,
  latency_ms bigint NOT NULL,
  ttft_ms bigint,
  attempts jsonb NOT NULL,
  routing jsonb,
  answer bytea NOT NULL,  -- sealed
  created_at timestamptz NOT NULL,  -- accepted
  ended_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  partition smallint NOT NULL,
  entry_id text NOT NULL,
  CONSTRAINT requests_pkey PRIMARY KEY (id),
  CONSTRAINT requests_status_check CHECK (status IN ('completed', 'failed', 'cancelled'))
);
CREATE INDEX idx_requests_user_id ON requests (user_id, id DESC);
CREATE INDEX idx_requests_user_model ON requests (user_id, asked_model, id DESC);

CREATE TABLE usage (
  id uuid NOT NULL,  -- the event's id again, under the guide's name
  user_id uuid NOT NULL,
  api_key_id uuid NOT NULL,
  endpoint text NOT NULL,
  model text NOT NULL,
  provider text NOT NULL,
  prompt_tokens bigint NOT NULL,
  completion_tokens bigint NOT NULL,
  total_tokens bigint NOT NULL,
  cost_usd numeric(20, 9) NOT NULL,
  latency_ms bigint NOT NULL,
  status text NOT NULL,
  created_at timestamptz NOT NULL,  -- when the event happened, never when it was read
  request_id text NOT NULL,
  event_id uuid NOT NULL,
  attempt_count integer NOT NULL,
  usage_source text NOT NULL,
  cached boolean NOT NULL,
  CONSTRAINT usage_pkey PRIMARY KEY (event_id, created_at),
  CONSTRAINT usage_cost_usd_check CHECK (cost_usd >= 0),
  CONSTRAINT usage_status_check CHECK (status IN ('success', 'error', 'cancelled'))
) PARTITION BY RANGE (created_at);
-- A row in here raises an alarm.
CREATE TABLE usage_default PARTITION OF usage DEFAULT;
CREATE INDEX idx_usage_user_id ON usage (user_id, created_at DESC);
CREATE INDEX idx_usage_api_key_id ON usage (api_key_id, created_at DESC);
CREATE INDEX idx_usage_created_at ON usage (created_at);
CREATE INDEX idx_usage_request_id ON usage (request_id);

CREATE TABLE conversations (
  id text NOT NULL,
  user_id uuid NOT NULL,
  title varchar(255),
  metadata jsonb,
  message_count integer NOT NULL,
  last_message_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CONSTRAINT conversations_pkey PRIMARY KEY (user_id, id)
);
CREATE INDEX idx_conversations_last_message_at ON conversations (user_id, last_message_at DESC, id DESC);

-- The key's order is the dialogue's.
CREATE TABLE conversation_messages (
  user_id uuid NOT NULL,
  conversation_id text NOT NULL,
  created_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  position smallint NOT NULL,
  turn_id text NOT NULL,
  role text NOT NULL,
  content bytea NOT NULL,  -- sealed
  request_id text NOT NULL,
  CONSTRAINT conversation_messages_pkey PRIMARY KEY (user_id, conversation_id, created_at, event_id, position)
);
"""

MEMORY = """
CREATE TABLE checkpoints (
  projection text NOT NULL,
  partition smallint NOT NULL,
  entry_id text NOT NULL,
  CONSTRAINT checkpoints_pkey PRIMARY KEY (projection, partition)
);

CREATE TABLE unreadable (
  projection text NOT NULL,
  partition smallint NOT NULL,
  entry_id text NOT NULL,
  reason text NOT NULL,
  raw bytea NOT NULL,
  CONSTRAINT unreadable_pkey PRIMARY KEY (projection, partition, entry_id)
);

CREATE TABLE archive (
  partition smallint NOT NULL,
  first_id text NOT NULL,
  last_id text NOT NULL,
  events integer NOT NULL,
  sha256 bytea NOT NULL,
  payload bytea NOT NULL,
  created_at timestamptz NOT NULL,  -- the time in first_id
  CONSTRAINT archive_pkey PRIMARY KEY (partition, created_at, first_id),
  CONSTRAINT archive_events_check CHECK (events > 0)
) PARTITION BY RANGE (created_at);
-- A row in here raises an alarm.
CREATE TABLE archive_default PARTITION OF archive DEFAULT;

-- Facts about rows above, on their way to the log.
CREATE TABLE outbox (
  id uuid PRIMARY KEY,
  envelope bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_outbox_created_at ON outbox (created_at, id);
"""

TABLES = (
    "outbox",
    "archive",
    "unreadable",
    "checkpoints",
    "conversation_messages",
    "conversations",
    "usage",
    "requests",
    "prompts",
    "subscriptions",
    "data_keys",
    "api_keys",
    "users",
)
"""Those that refer to others first."""


def upgrade() -> None:
    for section in (IDENTITY, LIBRARY, READ_MODELS, MEMORY):
        for statement in section.split(";\n"):
            if statement.strip():
                op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
