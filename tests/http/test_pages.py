"""Health, metrics, the description."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import orjson
from redis.asyncio import Redis
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message

from app import main
from app.database import Unavailable
from app.http import docs, openapi
from app.http.health import Health, once
from app.http.leaving import Leaving
from app.http.metrics import Metrics
from app.http.operations import OPERATIONS
from app.wiring import WebParts
from handlers.rules.catalogue import Catalogue


async def get(routes: list[BaseRoute], path: str) -> tuple[int, dict[str, str], bytes]:
    """The answer of a router, without a server."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        said.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": ""}
    await Router(routes)(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return said[0]["status"], headers, b"".join(message.get("body", b"") for message in said[1:])


async def well() -> None:
    return


async def hangs() -> None:
    await asyncio.Event().wait()


async def refused() -> None:
    raise ConnectionRefusedError(111, "password=canary")


async def behind() -> bool:
    return False


async def test_ready_when_everything_answers() -> None:
    health = Health({"log": well, "postgres": well})
    for path in ("/readyz", "/health"):
        status, _, body = await get([*health.routes()], path)
        assert (status, orjson.loads(body)) == (200, {"status": "ok", "checks": {"log": "ok", "postgres": "ok"}})


async def test_unready_says_which_does_not_answer_and_no_secret() -> None:
    health = Health({"log": hangs, "cache": well, "postgres": refused, "migrations": behind}, check_s_max=0.05)
    status, _, body = await get([*health.routes()], "/readyz")
    assert status == 503
    assert orjson.loads(body) == {
        "status": "unavailable",
        "checks": {
            "log": "no answer within 0.05 s",
            "cache": "ok",
            "postgres": "ConnectionRefusedError(111)",
            "migrations": "not ready",
        },
    }


async def test_alive_although_nothing_answers() -> None:
    status, _, _ = await get([*Health({"log": refused}).routes()], "/livez")
    assert status == 200


async def test_many_who_ask_cost_one_check() -> None:
    asked = 0

    async def counted() -> None:
        nonlocal asked
        asked += 1

    health = Health({"log": counted})
    await asyncio.gather(*(health.ask() for _ in range(100)))
    assert asked == 1


async def test_what_stays_true_is_asked_until_it_is_true() -> None:
    answers = [False, True]

    async def at_head() -> bool:
        return answers.pop(0)

    check = once(at_head)
    assert [await check(), await check(), await check()] == [False, True, True]


async def test_metrics_are_shown_although_the_database_is_away() -> None:
    async def away() -> Mapping[str, int]:
        raise Unavailable

    status, headers, body = await get([*Metrics(away).routes()], "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert b"http_request_duration_seconds" in body


async def test_metrics_count_active_users_by_tier() -> None:
    async def two() -> Mapping[str, int]:
        return {"free": 2}

    _, _, body = await get([*Metrics(two).routes()], "/metrics")
    assert b'active_users_total{tier="free"} 2.0' in body


_COUNTS = """
from app import telemetry
telemetry.FENCED.inc()
telemetry.IN_FLIGHT.inc()
telemetry.READER_LAG.labels("usage", "0").set(7)
"""


async def test_metrics_of_all_processes_add_up_and_what_the_dead_were_doing_does_not(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", _COUNTS], env=environment, check=True)

    async def nobody() -> Mapping[str, int]:
        return {}

    _, _, body = await get([*Metrics(nobody, tmp_path).routes()], "/metrics")
    assert b"\nhelix_fenced_total 2.0\n" in body
    assert b"helix_requests_in_flight 1.0" not in body
    assert b"helix_requests_in_flight 2.0" not in body
    assert not [name for name in os.listdir(tmp_path) if name.startswith("gauge_live")]


def test_the_description_names_every_route_and_no_other() -> None:
    # Nothing is called: the routes only keep what they are given.
    log = SimpleNamespace(ping=well)
    chosen = SimpleNamespace(helix_metrics_dir=None)
    parts = SimpleNamespace(log=log, pool=None, catalogue=Catalogue.of(()), settings=chosen, people=None)
    built = main.routes(cast(WebParts, parts), cast(Redis, log), Leaving())
    routed = {
        (method, each.path_format)
        for each in built
        if isinstance(each, Route)
        for method in each.methods or ()
        if method != "HEAD"
    }
    assert {(each.method, each.path) for each in OPERATIONS} == routed


async def test_every_reference_of_the_description_leads_somewhere() -> None:
    _, _, body = await get([*openapi.routes()], "/openapi.json")
    document = orjson.loads(body)
    assert document["openapi"] == "3.1.0"
    named = set(re.findall(rb'"#/components/schemas/(\w+)"', body))
    assert named <= {name.encode() for name in document["components"]["schemas"]}
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)


async def test_the_page_for_people_loads_nothing_and_runs_nothing() -> None:
    _, headers, body = await get([*docs.routes()], "/docs")
    page = body.decode()
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|<iframe| style=| on\w+=|src=|@import|url\(", page)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
    assert all(operation.path in page for operation in OPERATIONS)


def test_every_example_is_a_body_that_is_taken() -> None:
    for operation in OPERATIONS:
        if operation.body is not None:
            operation.body.model_validate(orjson.loads(operation.example))
