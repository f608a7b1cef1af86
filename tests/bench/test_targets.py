"""Everything is asked the same, and a bench touches nobody's servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from app.bench.load import in_own_process
from app.bench.targets import TRAFFIC, Shape, Target, echo, mock_provider, providers_file, without_servers
from app.providers.catalogue import load_catalogue
from app.settings import Settings


@pytest.mark.parametrize("shape", list(TRAFFIC))
def test_a_question_names_the_mocks_model(shape: Shape) -> None:
    plan = Target("helix", "127.0.0.1", 1, {"authorization": "Bearer x"}).plan(
        shape, connections=1, requests=1, seconds=1
    )
    body = orjson.loads(plan.body)
    assert (body["model"], body["stream"]) == (TRAFFIC[shape].model, TRAFFIC[shape].stream)
    assert b"authorization: Bearer x\r\n" in plan.request()


def test_every_model_of_the_bench_is_in_helixs_catalogue(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(providers_file(9100))
    catalogue = load_catalogue(make_settings(helix_providers=file))
    offered = {offer.model: offer.price for offer in catalogue.offers if offer.provider == "mock"}
    assert set(offered) == {traffic.model for traffic in TRAFFIC.values()}
    assert all(offered.values())


def test_nobodys_servers_and_keys_are_inherited() -> None:
    mine = {"DATABASE_URL": "x", "REDIS_URL": "x", "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": "x", "HELIX_DATA": "x"}
    assert without_servers({**mine, "PATH": "/bin", "HELIX_PARTITIONS": "2"}) == {
        "PATH": "/bin",
        "HELIX_PARTITIONS": "2",
    }


async def test_the_mock_and_the_echo_answer_the_same_load(tmp_path: Path) -> None:
    async with mock_provider(tmp_path) as direct, echo(tmp_path) as floor:
        for target in (direct, floor):
            outcome = await in_own_process(target.plan("plain", connections=2, requests=20, seconds=10))
            assert (outcome.answered, outcome.failures) == (20, {})
        assert floor.processes
        assert sum(floor.processes.cpu_s().values()) > 0
