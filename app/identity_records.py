"""What the tables say of a key: whose it is, for which account, in which role; one query for each.

One rule: everything that bounds a key, its person or its team comes in the same row, so that what is remembered is true as
a whole.
"""

from __future__ import annotations

from uuid import UUID

from app import routing_policies
from app.database import Pool, borrowed
from app.identity import ORDINARY_SCOPES, Found, Identity, Status
from app.provider_keys.store import keys_of, versions
from app.teams.membership import Membership


class PostgresRecords:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, key_hash: str) -> Found | None:
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(
                f"""SELECT k.id, k.scopes, k.rate_limit_override, k.expires_at, k.revoked_at, k.models,
                k.allowed_ips, k.allowed_origins, k.counted_as, k.own_rate_limit, k.account, k.user_id AS person,
                COALESCE(o.tier, u.tier) AS tier,
                u.status, o.status AS team_status, r.policy,
                {keys_of("k.account")} AS provider_keys,
                CASE WHEN o.id IS NULL THEN 'owner' WHEN u.id IS NULL THEN k.role ELSE m.role END AS role
                FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
                LEFT JOIN organizations o ON o.id = k.organization_id
                LEFT JOIN organization_members m ON m.organization_id = o.id AND m.user_id = u.id
                LEFT JOIN routing_policies r ON r.user_id = k.account WHERE k.key_hash = $1""",  # noqa: S608  # a column of ours
                key_hash,
            )
        if row is None:
            return None
        left = row["role"] is None  # a team's member no more: a key that he had for it is over
        identity = Identity(
            account=str(row["account"]),
            person=None if row["person"] is None else str(row["person"]),
            role="viewer" if left else row["role"],
            api_key_id=str(row["id"]),
            tier=row["tier"],
            scopes=frozenset(ORDINARY_SCOPES if row["scopes"] is None else row["scopes"]),
            rate_limit_override=row["rate_limit_override"],
            expires_at=row["expires_at"],
            policy=None if row["policy"] is None else routing_policies.read(row["policy"]),
            models=None if row["models"] is None else frozenset(row["models"]),
            allowed_ips=None if row["allowed_ips"] is None else tuple(row["allowed_ips"]),
            allowed_origins=None if row["allowed_origins"] is None else tuple(row["allowed_origins"]),
            counted_as=None if row["counted_as"] is None else str(row["counted_as"]),
            own_rate_limit=row["own_rate_limit"],
            provider_keys=versions(row["provider_keys"]),
        )
        person_is: Status = row["status"] or "active"
        team_is: Status = row["team_status"] or "active"
        status = team_is if person_is == "active" else person_is
        return Found(identity, status, revoked=left or row["revoked_at"] is not None)

    async def membership(self, person: str, account: str) -> Membership | None:
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(
                f"""SELECT m.role, o.tier, r.policy, {keys_of("o.id")} AS provider_keys
                FROM organization_members m
                JOIN organizations o ON o.id = m.organization_id LEFT JOIN routing_policies r ON r.user_id = o.id
                WHERE m.organization_id = $1 AND m.user_id = $2 AND o.status = 'active'""",  # noqa: S608  # a column of ours
                UUID(account),
                UUID(person),
            )
        if row is None:
            return None
        policy = None if row["policy"] is None else routing_policies.read(row["policy"])
        return Membership(account, person, row["role"], row["tier"], policy, versions(row["provider_keys"]))

    async def note_use(self, api_key_ids: frozenset[str]) -> None:
        async with borrowed(self._pool) as connection:
            await connection.execute(
                """UPDATE api_keys SET last_used_at = now() WHERE id = ANY($1)
                AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')""",
                [UUID(id) for id in api_key_ids],
            )
