"""The pages of decisions are listed, begin with their number, and name code that exists."""

import importlib
import re
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2] / "docs" / "decisions"
PAGES = sorted(HOME.glob("0*.md"))
#: A dotted name of the package drivetrain, in backquotes.
NAME = re.compile(r"`(drivetrain(?:\.\w+)+)`")
NAMES = sorted({name for page in PAGES for name in NAME.findall(page.read_text(encoding="utf-8"))})


def resolves(name):
    """Whether a dotted name is a module, or a name in one."""
    parent, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ImportError:
        return bool(parent) and hasattr(importlib.import_module(parent), last)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_code_that_a_decision_names_exists(name):
    assert resolves(name)


def test_decisions_name_code():
    assert "drivetrain.contract.apply" in NAMES
    assert not resolves("drivetrain.app.no_such_name")


def test_the_list_has_every_decision_in_order():
    listed = re.findall(r"^- \[(\d{4})]\((\S+)\)", (HOME / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [(page.name[:4], page.name) for page in PAGES]
    numbers = [int(number) for number, _ in listed]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_begins_with_its_number(page):
    assert page.read_text(encoding="utf-8").startswith(f"# {page.name[:4]}: ")
