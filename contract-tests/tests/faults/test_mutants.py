"""The suite is tested: every broken driver is caught by the clause that it breaks, and every clause catches one.

A run in the profile ``quick`` tries some of each clause. ``make mutants`` tries all, and holds the profiles to the
shares that they promise.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
from attrs import asdict

from drivetrain_contract_tests import clauses
from kill_matrix import WORD
from mutants import ALL
from mutants.mutant import Mutant, catcher
from mutants.quickest import QUICKEST

#: How many of each clause a run in the profile ``quick`` tries. Those of workflows take seconds each.
_QUICK_EACH, _QUICK_EACH_WORKFLOW = 2, 1


def chosen_when_quick(mutants: Iterable[Mutant]) -> set[tuple[str, str]]:
    """The clauses and names of the first few broken drivers of each clause."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for mutant in mutants:
        found[mutant.clause].append(mutant.name)
    return {
        (clause, name)
        for clause, names in found.items()
        for name in names[: _QUICK_EACH_WORKFLOW if clause[0] in "WTF" else _QUICK_EACH]
    }


QUICK = chosen_when_quick(ALL)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: f"{mutant.clause}-{mutant.name}".replace(" ", "-"))
def test_a_broken_driver_is_caught_by_the_clause_that_it_breaks(mutant: Mutant, record_property, request):
    quick = request.config.getoption("--contract-profile") == "quick"
    if quick and (mutant.clause, mutant.name) not in QUICK:
        pytest.skip("the profile quick tries some broken drivers of each clause; make mutants tries all")
    kill = catcher(mutant)
    told = {"check": None, "profile": None, "seconds": None} if kill is None else asdict(kill)
    record_property(WORD, {"clause": mutant.clause, "mutant": mutant.name, "all": len(ALL), **told})
    assert kill is not None, f"no check of {mutant.clause} has noticed a driver that {mutant.name}"


def test_every_clause_catches_a_broken_driver():
    caught = {mutant.clause for mutant in ALL}
    missing = [number for number in clauses() if number not in caught]
    assert not missing, f"clauses that no broken driver violates are not tested yet: {', '.join(missing)}"


def test_there_are_enough_of_them_each_with_a_name_of_its_own():
    assert len(ALL) >= 350
    assert [name for name, times in Counter((each.clause, each.name) for each in ALL).items() if times > 1] == []


def test_what_is_known_of_them_is_up_to_date():
    assert set(QUICKEST) <= {(mutant.clause, mutant.name) for mutant in ALL}
    assert all(mutant.checks() for mutant in ALL)
