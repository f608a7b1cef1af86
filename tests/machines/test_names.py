"""No two processes share a name on the log, wherever they run."""

from __future__ import annotations

from tests.conftest import MakeSettings


def test_two_processes_of_one_host_and_number_have_different_names(make_settings: MakeSettings) -> None:
    names = {make_settings().helix_process_name for _ in range(100)}
    assert len(names) == 100
