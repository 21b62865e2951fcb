"""A short form of ``make chaos`` on each kind of service. The seed is new each time, and a failure shows it."""

from random import SystemRandom

import pytest

from chaos.results import table
from chaos.run import PAIRS, play, short
from matrix.pairs import named

OF_WORKERS = {"worker killed", "worker terminated", "worker paused"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not pair.startswith("sqs")])
def test_random_faults_lose_and_repeat_nothing(pair):
    seed = SystemRandom().randrange(2**32)
    findings = play(short(named(pair), seed))
    again = f"make chaos ARGS='--once --pair {pair} --seed {seed}'"
    assert findings.sound, "\n".join([again, *table(findings)])
    assert findings.tasks > 0
    assert findings.faults.keys() == (OF_WORKERS if pair == "sqlite+sqlite" else {*OF_WORKERS, "service killed"})
