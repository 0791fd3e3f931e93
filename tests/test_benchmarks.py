"""Benchmarks start from any folder, and find one another by names that mypy looks into."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks").glob("*.py"))
OURS = {file.parent.name for file in ROOT.glob("*/__init__.py")}


def imported(code: str) -> set[str]:
    """The first part of the name of every module that is imported somewhere in the code."""
    names: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_benchmark_finds_the_others_in_their_package(file):
    alone = {other.stem for other in FILES} - OURS
    assert not alone & imported(file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_benchmark_that_is_started_has_the_root_on_the_path_in_place_of_its_folder(file):
    code = file.read_text()
    before, is_started, after = code.partition('if __name__ == "__main__":\n    ')
    if is_started and OURS & imported(code):
        assert after.startswith("sys.path[0] = str(Path(__file__).resolve().parents[1])\n")
        assert not OURS & imported(before)
