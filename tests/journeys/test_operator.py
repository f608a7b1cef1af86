"""What the operator's commands print beside a running `up`."""

from __future__ import annotations

import pytest

from tests.journeys.running import Helix


@pytest.mark.parametrize(
    "words",
    [
        ("migrate",),
        ("doctor",),
        ("user", "list"),
        ("key", "list"),
        ("log",),
        ("parked", "list"),
        ("replay", "usage", "--dry-run"),
        ("prices", "list"),
    ],
    ids=" ".join,
)
async def test_json_means_one_document_on_standard_output(helix: Helix, words: tuple[str, ...]) -> None:
    assert await helix.ask(*words) is not None
