"""Teams: organisations with members and invitations, keys that belong to a person or to a team, and routing policies of both.

An account is a person or a team: `api_keys.account` says for which one a key acts.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UPGRADE = """
CREATE TABLE organizations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name varchar(255) NOT NULL,
  tier varchar(20) NOT NULL DEFAULT 'free' CHECK (tier IN ('free', 'pro', 'team', 'enterprise')),
  status varchar(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE organization_members (
  organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  role varchar(20) NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'billing', 'viewer')),
  joined_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (organization_id, user_id)
);
CREATE UNIQUE INDEX idx_organization_members_owner ON organization_members (organization_id) WHERE role = 'owner';
CREATE INDEX idx_organization_members_user_id ON organization_members (user_id);

-- A row leaves when it is accepted, withdrawn or past its time.
CREATE TABLE organization_invitations (
  id uuid PRIMARY KEY,
  organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
  email bytea NOT NULL,  -- sealed
  role varchar(20) NOT NULL CHECK (role IN ('admin', 'developer', 'billing', 'viewer')),
  token_hash varchar(64) NOT NULL UNIQUE,  -- SHA-256 of the word in the mail, in hex
  invited_by uuid REFERENCES users (id) ON DELETE SET NULL,  -- null: a team's key, or who has gone since
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL
);
CREATE INDEX idx_organization_invitations_organization ON organization_invitations (organization_id, created_at, id);

ALTER TABLE api_keys
  ALTER COLUMN user_id DROP NOT NULL,  -- null: the team's own, which stays when its maker leaves
  ADD COLUMN organization_id uuid REFERENCES organizations (id) ON DELETE CASCADE,  -- null: for the person's own account
  ADD COLUMN role varchar(20) CHECK (role IN ('admin', 'developer', 'billing', 'viewer')),  -- what a team's own key is in it
  ADD COLUMN account uuid GENERATED ALWAYS AS (COALESCE(organization_id, user_id)) STORED,
  ADD CONSTRAINT api_keys_account_check CHECK (account IS NOT NULL),
  ADD CONSTRAINT api_keys_role_check1 CHECK ((role IS NULL) = (user_id IS NOT NULL));
CREATE INDEX idx_api_keys_account ON api_keys (account, created_at DESC, id DESC);

-- `user_id` is the account, a person or a team; the two columns beside it say which, so that a policy goes with its owner.
ALTER TABLE routing_policies
  DROP CONSTRAINT routing_policies_user_id_fkey,
  ADD COLUMN person uuid REFERENCES users (id) ON DELETE CASCADE,
  ADD COLUMN organization_id uuid REFERENCES organizations (id) ON DELETE CASCADE;
UPDATE routing_policies SET person = user_id;
CREATE INDEX idx_routing_policies_person ON routing_policies (person);
CREATE INDEX idx_routing_policies_organization ON routing_policies (organization_id);
"""

DOWNGRADE = """
DELETE FROM routing_policies WHERE user_id NOT IN (SELECT id FROM users);
ALTER TABLE routing_policies
  DROP COLUMN person,
  DROP COLUMN organization_id,
  ADD CONSTRAINT routing_policies_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
DELETE FROM api_keys WHERE organization_id IS NOT NULL;
DROP INDEX idx_api_keys_account;
ALTER TABLE api_keys
  DROP CONSTRAINT api_keys_account_check,
  DROP CONSTRAINT api_keys_role_check1,
  DROP COLUMN account,
  DROP COLUMN role,
  DROP COLUMN organization_id,
  ALTER COLUMN user_id SET NOT NULL;
DROP TABLE organization_invitations;
DROP TABLE organization_members;
DROP TABLE organizations;
"""


def upgrade() -> None:
    _each(UPGRADE)


def downgrade() -> None:
    _each(DOWNGRADE)


def _each(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
