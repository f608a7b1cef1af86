"""Helix against the floors and the peer of the same run. One rule: a ratio is made of medians, and only of what was
measured."""

from __future__ import annotations

from typing import Final

from app.bench.report import Figure

_RATIOS: Final = (
    ("cpu_echo_ratio", "CPU of a request / of an echo", ("cpu_s_per_1000", "helix"), ("cpu_s_per_1000", "echo")),
    ("echo_rate_ratio", "requests/s: echo / Helix", ("requests_per_s", "echo"), ("requests_per_s", "helix")),
    ("xadd_ratio", "XADD one by one / requests of Helix", ("xadd_per_s", "floor"), ("requests_per_s", "helix")),
    ("copy_ratio", "COPY / projection", ("copy_rows_per_s", "floor"), ("projection_events_per_s", "helix")),
    (
        "cpu_later_ratio",
        "CPU of a request: longer log / before",
        ("cpu_s_per_1000_later", "helix"),
        ("cpu_s_per_1000", "helix"),
    ),
    ("cpu_peer_ratio", "CPU of a request: LiteLLM / Helix", ("cpu_s_per_1000", "litellm"), ("cpu_s_per_1000", "helix")),
    ("chunk_peer_ratio", "CPU of a chunk: LiteLLM / Helix", ("chunk_cpu_us", "litellm"), ("chunk_cpu_us", "helix")),
)
"""Key, title, and the two figures (key, target) that are divided."""


def add_ratios(figures: dict[str, Figure]) -> None:
    """Add each ratio whose two figures were measured."""
    for key, title, above, below in _RATIOS:
        values = [figures[name].values.get(target) if name in figures else None for name, target in (above, below)]
        if values[0] and values[1]:
            figures[key] = Figure(key, title, "times", {"helix": [values[0] / values[1]]})
