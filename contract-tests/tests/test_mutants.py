"""The suite is tested: every broken driver is caught by the clause that it breaks, and every clause catches one."""

from __future__ import annotations

import pytest

from drivetrain_contract_tests import clauses
from mutants import ALL
from mutants.mutant import Mutant, catchers


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: f"{mutant.clause}-{mutant.name}".replace(" ", "-"))
def test_a_broken_driver_is_caught_by_the_clause_that_it_breaks(mutant: Mutant):
    caught = catchers(mutant.contract, mutant.service(), mutant.clause)
    assert caught, f"no check of {mutant.clause} has noticed a driver that {mutant.name}"


def test_every_clause_catches_a_broken_driver():
    caught = {mutant.clause for mutant in ALL}
    missing = [number for number in clauses() if number not in caught]
    assert not missing, f"clauses that no broken driver violates are not tested yet: {', '.join(missing)}"


def test_there_are_enough_of_them():
    assert len(ALL) >= 60
