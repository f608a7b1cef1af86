"""A clock is shifted for the process it belongs to, and a socket is known by the process that holds it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.faults.clocks import Clocks
from app.faults.owners import Owners
from app.faults.preload import CannotRun

HOUR_S = 3600
SAY_CLOCKS = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"


def test_the_wall_clock_of_one_process_jumps_and_nothing_else_does(tmp_path: Path) -> None:
    try:
        clocks = Clocks(tmp_path / "clocks")
    except CannotRun as cannot:
        pytest.skip(str(cannot))

    def begun(name: str) -> subprocess.Popen[str]:
        environment = {**os.environ, **clocks.environment, "HELIX_PROCESS_NAME": name}
        words = [sys.executable, "-c", SAY_CLOCKS]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ahead_s(process: subprocess.Popen[str]) -> tuple[int, int]:
        """How far its wall clock and its monotonic clock are ahead of ours, in whole hours."""
        assert process.stdin and process.stdout
        process.stdin.write("now\n")
        process.stdin.flush()
        wall, monotonic = (float(word) for word in process.stdout.readline().split())
        return round((wall - time.time()) / HOUR_S), round((monotonic - time.monotonic()) / HOUR_S)

    with begun("machine-web-1") as web, begun("worker-1") as worker:
        assert [ahead_s(one) for one in (web, worker)] == [(0, 0), (0, 0)]
        clocks.shift("web-1", 24 * HOUR_S)
        assert [ahead_s(one) for one in (web, worker)] == [(24, 0), (0, 0)]
        clocks.shift("web-1", -HOUR_S)
        assert [ahead_s(one) for one in (web, worker)] == [(-1, 0), (0, 0)]
        with pytest.raises(LookupError):
            clocks.shift("projector-1", HOUR_S)
        for one in (web, worker):
            one.kill()
            one.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_connection_is_known_by_the_process_that_holds_it(tmp_path: Path) -> None:
    facts = tmp_path / "run.json"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        words = f"import socket; s = socket.create_connection(('127.0.0.1', {listening.getsockname()[1]})); input()"
        with subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE) as process:
            connection, (_, port) = listening.accept()
            with connection:
                assert Owners(facts).of(port) is None, "nobody has said who is who"
                facts.write_text(json.dumps({"pids": {"web": [os.getpid()], "worker": [process.pid], "projector": []}}))
                assert Owners(facts).of(port) == "worker"
            process.communicate(b"\n")
