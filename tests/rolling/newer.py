"""A Helix of tomorrow: its commands and its answers are one version on. `python -m tests.rolling.newer worker`, and so on.

One rule: no process of today can read what it says, and it brings what they say to its own shape.
"""

from __future__ import annotations

from typing import Any, cast

from app.cli import main
from events.catalog import UPCASTS
from events.completions import Complete, CompletionFinished

if __name__ == "__main__":
    upcasts = cast(dict[tuple[str, int], Any], UPCASTS)
    for kind in (Complete, CompletionFinished):
        upcasts[kind.type, kind.version] = lambda body: body
        kind.version += 1
    main()
