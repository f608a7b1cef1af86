"""What nobody writes of himself (A25): account, tier, role, rights and the like are in no body that does not say so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.http.operations import OPERATIONS

NOT_TO_WRITE = (
    *("account", "account_id", "user_id", "organization_id", "tenant_id", "person", "by"),
    *("tier", "role", "status", "scopes", "admin", "is_admin", "balance", "email_verified"),
    *("id", "key", "key_hash", "password_hash", "counted_as", "rate_limit_override"),
    *("created_at", "revoked_at", "replaced_by"),
)

MANAGING = {
    each.body: each.example
    for each in OPERATIONS
    if each.body is not None and each.action != "completions.ask"  # what a provider is asked passes untouched
}


@settings(max_examples=40, deadline=None)
@given(
    field=st.sampled_from(NOT_TO_WRITE),
    value=st.none() | st.booleans() | st.integers(0, 2**40) | st.text(max_size=20) | st.just(["admin"]),
)
@pytest.mark.parametrize("shape", MANAGING, ids=lambda shape: shape.__name__)
def test_what_a_body_does_not_name_is_refused(shape: type[BaseModel], field: str, value: object) -> None:
    if field in shape.model_fields:
        return  # it is meant to be written; what it may be is compared with who writes it
    with pytest.raises(ValidationError, match="extra"):
        shape.model_validate_json(json.dumps({**json.loads(MANAGING[shape]), field: value}))


def test_only_these_bodies_name_what_gives_rights() -> None:
    """Each of them compares with the rights of whoever asks (tests/journeys/test_everybody_everywhere.py, test_api_keys.py)."""
    giving = {"role", "scopes", "tier", "person", "account", "status"}
    assert {
        shape.__name__: giving & set(shape.model_fields) for shape in MANAGING if giving & set(shape.model_fields)
    } == {
        "KeyCreate": {"role", "scopes"},
        "KeyChange": {"scopes"},
        "MemberChange": {"role"},
        "InvitationCreate": {"role"},
        "OwnershipTransfer": {"person"},
    }
