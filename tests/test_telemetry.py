"""What leaves a process: log lines and crash reports, and that no content goes with them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest

CANARY = "canary-7f3a"

_PROCESS = f"""
import asyncio, gc, logging, sys
import structlog
from app import telemetry
from app.http.shell import Shell
from app.http.traced import Traced
from app.settings import settings
from starlette.requests import Request
from starlette.routing import Route, Router

telemetry.TRACES_SHARE = 1.0
telemetry.configure(settings(), "web")
log = structlog.get_logger()

async def crash(request):
    prompt = "{CANARY}"
    try:
        raise ValueError(prompt + " " + (await request.body()).decode())
    except ValueError as first:
        raise RuntimeError(prompt) from first

async def forgotten():
    raise ValueError("{CANARY}")

async def main():
    body = b"{CANARY}"
    said = []
    async def receive(): return {{"type": "http.request", "body": body}}
    async def send(message): said.append(message)
    app = Traced(Shell(Router([Route("/crash/{{id}}", crash, methods=["POST"])], redirect_slashes=False)))
    await app({{
        "type": "http", "method": "POST", "path": "/crash/{CANARY}", "http_version": "1.1", "root_path": "",
        "query_string": b"q={CANARY}",
        "headers": [(b"host", b"x"), (b"authorization", b"Bearer {CANARY}"), (b"content-length", b"11")],
    }}, receive, send)
    assert said[0]["status"] == 500
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()

log.info("worker_started", name="a")
logging.getLogger("somebody.elses").warning("careful\\n{CANARY}")
asyncio.run(main())
"""


@pytest.fixture
def reports() -> Iterator[tuple[str, list[bytes]]]:
    """A Sentry of our own: its DSN, and what it is sent."""
    received: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(sent) if self.headers.get("Content-Encoding") == "gzip" else sent)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://key@127.0.0.1:{server.server_port}/1", received
        server.shutdown()
        thread.join()


def run(**environment: str) -> list[dict[str, object]]:
    """The log lines of a process that crashes a request."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROCESS],
        env=os.environ
        | {"DATABASE_URL": "postgresql://x", "REDIS_URL": "redis://x", "API_KEY_ENCRYPTION_KEY": "00" * 32}
        | environment,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout == b""
    return [orjson.loads(line) for line in ended.stderr.splitlines()]


def test_every_line_is_json_with_a_name_and_a_time_and_no_content() -> None:
    lines = run(HELIX_LOG_LEVEL="debug")
    assert [line["event"] for line in lines] == [
        "worker_started",
        "careful",
        "request_crashed",
        "request_answered",
        "Task exception was never retrieved",
    ]
    assert all(line["process"] == "web" and str(line["timestamp"]).endswith("Z") for line in lines)
    assert CANARY not in repr(lines)
    crashed = lines[2]
    assert crashed["error"] == "RuntimeError"
    assert str(crashed["error_at"]).rstrip("']").endswith("crash")
    assert crashed["request_id"] == lines[3]["request_id"]


def test_a_crash_is_reported_with_its_place_and_no_content(reports: tuple[str, list[bytes]]) -> None:
    dsn, received = reports
    run(SENTRY_DSN=dsn)
    sent = b"\n".join(received)
    assert b"RuntimeError" in sent
    assert b'"function":"crash"' in sent
    assert b"POST /crash/{id}" in sent  # the trace
    assert CANARY.encode() not in sent
