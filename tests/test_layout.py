"""Tests lie where the modules lie that they test, and what several folders share is in helpers."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src" / "r2d2"
WHOLE = {"benchmarks", "examples", "faults"}  # of these the whole is tested, and no package
SHARED = "helpers"


def test_every_folder_of_tests_is_one_of_the_package():
    folders = {file.parent.relative_to(TESTS) for file in TESTS.rglob("test_*.py")}
    other = {str(folder) for folder in folders if not (PACKAGE / folder).is_dir()}
    assert other == WHOLE


def test_a_helper_of_one_folder_is_imported_there_alone():
    for file in TESTS.rglob("*.py"):
        own = file.relative_to(TESTS).parts[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            top, _, module = node.module.partition(".")
            if not (TESTS / top).is_dir() or top in (own, SHARED, "benchmarks"):
                continue
            last = module.rpartition(".")[2]
            assert last.startswith("test_"), f"{file} imports {node.module}: move it to {SHARED}"
