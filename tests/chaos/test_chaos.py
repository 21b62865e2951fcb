"""A short form of ``make chaos`` on each kind of service. The seed is new each time, and a failure shows it."""

from random import SystemRandom

import pytest

from chaos.results import table
from chaos.run import PAIRS, Plan, play
from matrix.pairs import named

SECONDS = 6.0


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not pair.startswith("sqs")])
def test_random_faults_lose_and_repeat_nothing(pair):
    seed = SystemRandom().randrange(2**32)
    findings = play(Plan(pair=named(pair), seconds=SECONDS, seed=seed))
    again = f"make chaos ARGS='--pair {pair} --seconds {SECONDS:g} --seed {seed}'"
    assert findings.sound, "\n".join([again, *table(findings)])
    assert findings.tasks > 0
    assert findings.faults
