"""More broken retry policies: jitter, clocks, processes, and parameters of the wrong type."""

from __future__ import annotations

import math
import os
import time
from datetime import UTC, datetime
from random import Random

from drivetrain.contract import RetryPolicy
from drivetrain.drivers.retries import make_retry_policy
from drivetrain_contract_tests.retry_policies import PolicyUnderTest, RetryPolicyContract
from mutants.mutant import Mutant
from mutants.others import Delay, parameters, policy

__all__ = ["MUTANTS"]


def seldom_beyond_its_cap(name, given):
    made = make_retry_policy(name, given)

    def delay(retry, random):
        found = made.delay_seconds(retry, random)
        return found * 1.5 if random.random() > 0.95 else found

    return Delay(delay)


def beyond_its_cap_at_first(name, given):
    made = make_retry_policy(name, given)
    return Delay(lambda retry, random: made.delay_seconds(retry, random) + (random.random() if retry == 1 else 0.0))


def numbers_from_text(name, given):
    return make_retry_policy(name, {key: _number(value) for key, value in given.items()})


def _number(value):
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def rounded_numbers(name, given):
    return make_retry_policy(
        name, {key: value[0] if isinstance(value, list) else value for key, value in given.items()}
    )


def nan_as_default(name, given):
    return make_retry_policy(name, {key: value for key, value in given.items() if value == value})


class Latest:
    """Keeps its parameters in the class: those of the policy that was made last."""

    made: RetryPolicy

    def __init__(self, made):
        type(self).made = made

    def delay_seconds(self, retry, random):
        return self.made.delay_seconds(retry, random)


def latest(name, given):
    return Latest(make_retry_policy(name, given))


_CALLS: list[int] = []


def counts_all(retry, _random):
    """Counts the calls of all policies of the process."""
    _CALLS.append(retry)
    return float(len(_CALLS) % 600)


def under_test(good, make):
    return lambda: PolicyUnderTest(name="intervals", good=[{"seconds": list(good)}], bad=[{"seconds": []}], make=make)


class Eats:
    """Takes each delay out of the list that it was given."""

    def __init__(self, seconds):
        self._seconds = seconds

    def delay_seconds(self, retry, random):
        return float(self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0])


def eats(name, given):
    make_retry_policy(name, given)
    return Eats(given["seconds"])


class Shares:
    """Reverses the list that it was given, each time that one is made."""

    def __init__(self, seconds):
        seconds.reverse()
        self._seconds = seconds

    def delay_seconds(self, retry, random):
        return float(self._seconds[min(retry, len(self._seconds)) - 1])


def reverses(name, given):
    make_retry_policy(name, given)
    return Shares(given["seconds"])


def texts_in_a_list(name, given):
    seconds = given.get("seconds")
    read = [_number(each) for each in seconds] if isinstance(seconds, list) else seconds
    return make_retry_policy(name, {**given, "seconds": read})


def intervals(name, clause, make, good=(1, 2.5, 10)):
    return Mutant(name=name, clause=clause, contract=RetryPolicyContract, service=under_test(good, make))


def by_the_hour(retry, _random):
    return 1.0 if time.time() % 86_400 < 43_200 else 2.0


def by_the_date(retry, _random):
    return float(datetime.now(UTC).toordinal() % 7)


def by_the_minute(_retry, _random):
    return float(int(time.monotonic()) // 60 % 60)


def barely_negative(_retry, random):
    return random.random() - 1e-6


def salted_hash(retry, _random):
    return float(abs(hash(f"retry {retry}")) % 60)


MUTANTS = [
    parameters("seldom draws more than its cap", "P1", seldom_beyond_its_cap),
    parameters("adds its jitter to the cap of the first retry", "P1", beyond_its_cap_at_first),
    policy("is negative for the least that it can draw", "P1", lambda: Delay(barely_negative)),
    policy("gives a delay as text", "P1", lambda: Delay(lambda retry, _random: str(min(retry, 60)))),
    policy("is without end for the least that it can draw", "P1", lambda: Delay(_by_logarithm)),
    policy("depends on the process", "P2", lambda: Delay(lambda retry, _random: float(os.getpid() % 60))),
    policy("depends on the seed of hashes", "P2", lambda: Delay(salted_hash)),
    policy("depends on the time of day", "P2", lambda: Delay(by_the_hour)),
    policy("depends on the date", "P2", lambda: Delay(by_the_date)),
    policy("depends on the monotonic clock", "P2", lambda: Delay(by_the_minute)),
    policy("draws from a generator of its own", "P2", lambda: Delay(lambda retry, _random: Random().random())),
    parameters("keeps the parameters that came last for all", "P3", latest),
    intervals("reverses the list that it was given", "P3", reverses),
    parameters("reads numbers from text", "P4", numbers_from_text),
    parameters("takes the first of a list for the number", "P4", rounded_numbers),
    parameters("takes NaN for the default", "P4", nan_as_default),
    intervals("reads numbers in a list from text", "P4", texts_in_a_list),
    intervals("eats its own list of seconds", "P5", eats),
    policy("counts the calls of all policies", "P5", lambda: Delay(counts_all)),
]  # fmt: skip


def _by_logarithm(_retry, random):
    drawn = random.random()
    return -math.log(drawn) if drawn else math.inf
