"""What is not enabled says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from starlette.requests import Request

from app.http.analytics import Analytics
from app.http.refusals import Refused
from app.wiring import WebParts
from handlers.rules.catalogue import Catalogue


async def test_cost_optimization_that_is_off_is_not_found_and_says_which_setting() -> None:
    parts = SimpleNamespace(settings=SimpleNamespace(enable_cost_optimization=False), catalogue=Catalogue.of(()))
    door = Analytics(cast(WebParts, parts))

    with pytest.raises(Refused) as refused:
        await door.cost_optimization(Request({"type": "http", "headers": [], "query_string": b""}))

    assert (refused.value.status, refused.value.code) == (404, "not_enabled")
    assert "ENABLE_COST_OPTIMIZATION" in refused.value.message
