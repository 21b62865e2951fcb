"""Three scheduler processes under faults: each tick runs exactly once. ``make ticks`` does this a thousand times."""

import pytest

from matrix.pairs import named
from ticks.run import PAIRS, Plan, plan_of, play


@pytest.mark.parametrize("pair", ["sqlite+sqlite", "redis+redis"])
def test_each_tick_runs_once_while_schedulers_are_killed_and_stopped(pair):
    """In short: eighty ticks, in which the service restarts too."""
    verdict = play(Plan(pair=named(pair), ticks=80, schedules=10, seed=7))
    assert (verdict.lost, verdict.repeated) == ([], []), verdict
    assert verdict.wanted == 80


@pytest.mark.usefixtures("at_length")
@pytest.mark.parametrize("pair", PAIRS)
def test_each_of_a_thousand_ticks_runs_once(pair):
    verdict = play(plan_of(pair, ticks=1000, seed=1))
    assert (verdict.lost, verdict.repeated) == ([], []), verdict
