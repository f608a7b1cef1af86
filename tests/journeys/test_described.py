"""Every operation of our own `/openapi.json`, called as it is described and as it is not (A5): what comes back is described
there too, status, type and shape, and is never a fault of ours.

One rule: schemathesis writes the cases, from the document alone. HELIX_DESCRIBED_CASES=500 is the long run: so many for each
operation and each kind. The suite's few are the same every time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from requests.adapters import HTTPAdapter
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from app.http.openapi import document
from app.http.operations import OPERATIONS
from tests.journeys.client import client_of, question
from tests.journeys.running import Account, Helix

Operation = APIOperation[Any, Any, Any, Any]

CASES: Final = int(os.environ.get("HELIX_DESCRIBED_CASES", "3"))

PROMISES: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
SCOPES: Final = ("chat", "agents", "prompts", "keys", "account")
"""All but the operator's: what stops the machine is not for a fuzzer that shares it."""

ENDING: Final = "/v1/users/me"
"""What may end the account comes last."""


class _Elsewhere(HTTPAdapter):
    """From another address of this machine, where it has more than one by itself: so many sign-ins from ours would leave
    none to the other journeys (`app.http.throttle`)."""

    def init_poolmanager(self, *words: Any, **named: Any) -> None:
        if sys.platform == "linux":
            named["source_address"] = ("127.0.0.2", 0)
        super().init_poolmanager(*words, **named)


async def _ids(helix: Helix, key: str) -> dict[str, str]:
    """What there is, by the beginning of the paths that ask for it."""
    async with client_of(helix.base_url, key) as client:
        asked = (await client.complete(question("here"))).request
        kept = await client.send("POST", "/v1/responses", {"model": "sandbox/echo", "input": "kept"})
        made = await client.send("POST", "/v1/api-keys", {})
        return {
            "/v1/requests/{id}": asked,
            "/v1/responses/{id}": kept.json["id"],
            "/v1/api-keys/{id}": made.json["id"],
            "/v1/models/{id}": "sandbox/echo",
        }


def _described() -> list[Operation]:
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(document())))
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert len(found) == len(OPERATIONS), "an operation of the document makes no sense"
    return sorted(found, key=lambda each: each.path == ENDING)


def _check(helix: Helix, key: str, operation: Operation, mode: GenerationMode, given_id: dict[str, Any]) -> int:
    sent = 0
    session = requests.Session()
    session.mount("http://", _Elsewhere())
    load_all_checks()
    checks: Any = [CHECKS.get_one(name) for name in PROMISES]

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize="HELIX_DESCRIBED_CASES" not in os.environ,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode, **given_id))
    def keeps_its_word(case: Case[Any]) -> None:
        nonlocal sent
        sent += 1
        case.query.pop("wait", None)  # what asks for time is tried in tests/journeys/test_junk.py
        answer = case.call(
            base_url=helix.base_url, session=session, headers={"authorization": f"Bearer {key}"}, timeout=60
        )
        case.validate_response(answer, checks=checks)

    with session:
        keeps_its_word()
    return sent


@pytest.mark.timeout(3600)
async def test_every_operation_answers_as_it_is_described(
    helix: Helix, record_property: Callable[[str, object], None]
) -> None:
    scopes = (word for scope in SCOPES for word in ("--scope", scope))
    account: Account = await helix.account("enterprise", *scopes)
    ids = await _ids(helix, account.key)
    operations = _described()
    sent = 0
    for operation in operations:
        sent += _check(helix, account.key, operation, GenerationMode.POSITIVE, {})
        with suppress(Unsatisfiable):  # where nothing can be said wrongly
            sent += _check(helix, account.key, operation, GenerationMode.NEGATIVE, {})
        for path, id in ids.items():
            if operation.path.startswith(path):
                sent += _check(helix, account.key, operation, GenerationMode.POSITIVE, {"path_parameters": {"id": id}})
    record_property("cases", sent)
    assert sent >= len(operations)
