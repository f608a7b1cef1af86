"""Walks through the scripts it is given, inside an SDK's own environment: every `check_…` of them, told as one JSON document.

Each `check_…` is one promise: it returns what the test outside wants to look up afterwards, and raises where it is broken.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from importlib.metadata import distributions
from pathlib import Path
from time import monotonic


def main() -> None:
    results: dict[str, object] = {"versions": {each.name.lower(): each.version for each in distributions()}}
    for script in map(Path, sys.argv[1:]):
        spec = importlib.util.spec_from_file_location(script.stem, script)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[script.stem] = module
        spec.loader.exec_module(module)
        for name, check in list(vars(module).items()):
            if name.startswith("check_"):
                began = monotonic()
                try:
                    results[name] = {"found": check(), "fault": None}
                except Exception:  # noqa: BLE001  # whatever is broken is told outside, and the walk goes on
                    results[name] = {"found": None, "fault": traceback.format_exc()}
                sys.stderr.write(f"{monotonic() - began:6.2f} s {name}\n")
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
