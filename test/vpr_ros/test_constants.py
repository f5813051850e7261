"""What was fitted is found in one place: a threshold in the middle of a file is neither seen nor fitted again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "vpr_ros"
PACKAGES = ("matching", "maps", "localize", "loops", "fleet")
# Bounds of what a file may hold, not of what a method accepts; and numbers of a file's format.
SANITY = {
    "map_file.FURTHEST",
    "storage._LARGEST",
    "places._LARGEST_COORDINATE",
    "places._FURTHEST_M",
    "storage.STEPS",
    "stored_descriptors._LENGTHS",
    "tiles._LARGEST",
    "tiles._LARGEST_STATISTIC",
    "index._MOST",
    "editor._LEAST_COSINE",
}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_constant_says_what_it_is(name: str) -> None:
    """With its meaning on the line below: a newcomer must not have to search the code for a unit."""
    tables = [node for node in ast.parse((PACKAGE / name / "constants.py").read_text()).body if _is_class(node)]
    assert tables
    for table in tables:
        assert isinstance(table, ast.ClassDef) and ast.get_docstring(table)
        for field, below in zip(table.body, [*table.body[1:], ast.Pass()], strict=True):
            if isinstance(field, ast.AnnAssign):
                said = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                assert said, f"{name}.constants: {table.name}.{ast.unparse(field.target)} has no docstring"


@pytest.mark.parametrize("name", PACKAGES)
def test_thresholds_are_in_the_tables(name: str) -> None:
    """A constant with a fraction at the top of another module is a threshold that was forgotten there."""
    found = {
        constant for path in (PACKAGE / name).glob("*.py") if path.stem != "constants" for constant in _fractions(path)
    }
    assert found <= SANITY


def _is_class(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef)


def _fractions(path: Path) -> Iterator[str]:
    """Names of a module's top level that are made of numbers with a fraction."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            inside = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            if any(isinstance(value, float) for value in inside):
                yield from (f"{path.stem}.{ast.unparse(target)}" for target in node.targets)
