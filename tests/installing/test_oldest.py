"""What ``make oldest`` installs: the lowest version that each member allows, and never a guess."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from installing.oldest import lowest, main

ROOT = Path(__file__).parents[2]
MEMBERS = [ROOT / "core", *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]


def test_the_lowest_of_each():
    wanted = ["attrs>=23.2", "drivetrain==0.1.0", "redis>=5.0,<9", "hiredis~=3.1"]
    assert list(lowest(wanted, {"attrs", "drivetrain"})) == ["redis==5.0", "hiredis==3.1"]


def test_what_has_no_lower_bound_promises_nothing():
    with pytest.raises(ValueError, match="pika<2 has no lower bound"):
        list(lowest(["pika<2"], set()))


@pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)
def test_every_member_says_from_which_versions_on(member):
    """And what it is tested with, by ``requirements-dev.txt``, is among what it allows."""
    required = tomllib.loads((member / "pyproject.toml").read_text())["project"]["dependencies"]
    assert list(lowest(required, {"drivetrain"}))
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements-dev.txt").read_text().splitlines())
    pinned = {each.name.lower().replace("_", "-"): each for each in map(Requirement, filter(None, lines))}
    for each in map(Requirement, required):
        if each.name != "drivetrain" and (each.marker is None or each.marker.evaluate()):
            [exact] = pinned[each.name.lower()].specifier
            assert each.specifier.contains(exact.version), f"{each}, and it is tested with {exact}"


def test_a_member_that_is_none(capsys):
    with pytest.raises(SystemExit):
        main(["cassandra"])
    assert "cassandra" in capsys.readouterr().err
