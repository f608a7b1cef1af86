"""What the doctor says of a cluster: every node is looked at, and one that is away is named with what waits for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from app.cli.doctor import page
from app.doctor import check_log
from app.doctor.examine import examine
from app.log import Connection, Log
from app.log.count import agree
from tests.cluster.conftest import Cluster
from tests.conftest import MakeSettings

PARTITIONS = 6


async def test_an_unsafe_node_and_one_that_is_away_are_named(
    cluster: Cluster, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(redis_url=cluster.url, helix_partitions=PARTITIONS)
    await agree(cluster.url, PARTITIONS)
    log = await Log(cluster.url, name="test", partitions=PARTITIONS).open()
    waiting = log.nodes.groups()[log.nodes.url_of(1)]
    lost = cluster.node_at(log.nodes.url_of(1))
    assert lost is not cluster.nodes[0], "the one that is asked first stays"
    await log.close()
    unsafe = next(node for node in cluster.nodes if node is not lost and node is not cluster.nodes[0])

    assert await check_log(cluster.url) == []
    connection = await Connection(unsafe.url, name="operator").open()
    await connection("CONFIG", "SET", "appendfsync", "everysec", "cluster-require-full-coverage", "yes")
    (fault,) = await check_log(cluster.url)
    assert fault.startswith(f"log appendfsync: everysec at 127.0.0.1:{unsafe.port}; set it to `always`")
    await connection.close()

    report = await examine(settings, tmp_path)
    found = {check.name: check for check in report.checks}
    assert found["log cluster-require-full-coverage"].verdict == "warning"
    assert found["log maxmemory-policy"].verdict == "good"
    assert len(report.nodes) == 3
    assert sorted(number for node in report.nodes for number in node.partitions) == list(range(PARTITIONS))

    os.kill(lost.pid, signal.SIGKILL)
    lost.wait_ended()
    report = await examine(settings, tmp_path)
    first = report.checks[0]
    assert (first.verdict, first.name) == ("bad", "log node")
    assert f"127.0.0.1:{lost.port} does not answer" in first.found
    assert all(str(number) in first.found for number in waiting)
    assert [one.number for one in report.partitions if one.away] == waiting
    lines = list(page(report))
    assert lines[0].startswith("BAD")
    assert sum("AWAY" in line for line in lines) == 1 + len(waiting)
    assert report.as_document()["healthy"] is False
