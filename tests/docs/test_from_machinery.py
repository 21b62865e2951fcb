"""docs/from-machinery.md is whole, and every test and clause that it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "from-machinery.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`([\w/.-]+\.py::[\w:]+)`", PAGE)))
WEAKNESSES = {
    row[0].strip(): [cell.strip() for cell in row[1:]]
    for row in (line.strip("|").split("|") for line in PAGE.splitlines() if re.match(r"\| W\d+ \|", line))
}
BEHAVIOURS = "tests/machinery/test_machinery_integration.py"


@cache
def names(path):
    """Every function and class of a module, those of classes after their class's name; and what it runs by a list."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("test", TESTS)
def test_a_test_that_is_named_exists(test):
    path, _, name = test.partition("::")
    assert (ROOT / path).is_file()
    assert name in names(path)
    last = name.rpartition("::")[2]
    assert last.startswith(("test_", "Test")) or (path == BEHAVIOURS and last in behaviours())


def behaviours():
    """What the module of Machinery's integration suite runs on every pair."""
    [listed] = re.findall(r"^BEHAVIOURS = \[(.*?)^\]", (ROOT / BEHAVIOURS).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return set(re.findall(r"\w+", listed))


def test_every_behaviour_of_the_suite_is_run():
    assert names(BEHAVIOURS) - behaviours() == {
        "Watching",
        *(name for name in names(BEHAVIOURS) if name.startswith(("Watching::", "test_"))),
    }


def test_every_weakness_has_its_line():
    assert list(WEAKNESSES) == [f"W{number}" for number in range(1, 51)]


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_a_weakness_names_our_behaviour_and_a_test_for_it(weakness):
    there, here, shown = WEAKNESSES[weakness]
    assert there
    assert here
    assert "::" in shown


def test_every_clause_that_is_named_exists():
    clauses = set(re.findall(r"\*\*([A-Z]\d+)\*\*", (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")))
    named = {
        clause
        for cells in WEAKNESSES.values()
        for clause in re.findall(r"\b([BRLWSP]\d+)\b", re.sub(r"`[^`]*`", "", cells[-1]))
    }
    assert named - clauses == set()
    assert len(named) > 15
