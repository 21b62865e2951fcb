"""The checks of a retry policy (clauses P…)."""

from __future__ import annotations

import builtins
import datetime as dt
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from random import Random
from typing import Any, ClassVar
from unittest.mock import patch

import hypothesis
import pytest
from attrs import frozen
from hypothesis import strategies as st

from drivetrain.app.discovery import Drivers
from drivetrain.app.entry_points import Kind
from drivetrain.contract import DriverContext, InvalidSignature, Plain, RetryPolicy
from drivetrain_contract_tests.clauses import Check, holds
from drivetrain_contract_tests.contract import Contract
from drivetrain_contract_tests.drivers_under_test import Subject
from drivetrain_contract_tests.forking import in_child

__all__ = ["PolicyUnderTest", "RetryPolicyContract"]

Parameters = Mapping[str, Plain]

#: Where arithmetic goes wrong: powers of two beyond integers and floats, and the millionth retry.
_RETRIES = (1, 2, 3, 4, 5, 10, 31, 32, 33, 63, 64, 65, 100, 1_023, 1_024, 1_025, 1_476, 10_000, 65_536, 10**6)


#: How many seeds are tried where something may be drawn seldom.
_SEEDS = 100
#: How many orders of retries are tried: each asks many policies that are made for it.
_STORIES = 5
#: How much later a policy is asked again: an hour, half a day, and more than a month.
_LATER_SECONDS = (3_607.0, 43_211.5, 40 * 86_400.0 + 1_234.0)
#: Caps below the other parameters of most policies, in seconds.
_LOW_CAPS = (1.0, 0.01)
#: The clocks of the module ``time``.
_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")


class _Extreme(Random):
    """Draws the least or the most that a `random.Random` may draw."""

    def __init__(self, drawn: float) -> None:
        super().__init__(0)
        self._drawn = drawn

    def random(self) -> float:
        """Always the same."""
        return self._drawn


def _installed(name: str, parameters: Parameters) -> RetryPolicy:
    # A finder of its own each time: one keeps the policies that it has made.
    return Drivers(DriverContext()).retry_policy(name, parameters)


@frozen(kw_only=True)
class PolicyUnderTest:
    """A retry policy, and what its author says of its parameters."""

    #: As its entry point names it.
    name: str
    #: Parameters that it takes, in several combinations.
    good: Sequence[Parameters] = ({},)
    #: Parameters that it refuses. The suite adds some of its own.
    bad: Sequence[Parameters] = ()
    #: The name of the parameter that is the longest delay, if it has one; checked where it stands in ``good``.
    cap: str | None = None
    #: Makes it, in place of the installed driver.
    make: Callable[[str, Parameters], RetryPolicy] = _installed

    def made(self, parameters: Parameters) -> RetryPolicy:
        """A new policy, made from a copy of the parameters: what it does with them is seen by no other."""
        return self.make(self.name, deepcopy(dict(parameters)))

    def each(self) -> Iterator[tuple[Parameters, RetryPolicy]]:
        """A policy for each of the good parameters."""
        for parameters in self.good:
            yield parameters, self.made(parameters)


class RetryPolicyContract(Contract):
    """The contract of a retry policy.

    Needs the class attribute ``policy``, a `PolicyUnderTest`; or else a fixture ``retry_policy`` that gives one.
    """

    policy: ClassVar[Any] = None

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _reach(cls, request: pytest.FixtureRequest) -> None:
        given = isinstance(cls.policy, PolicyUnderTest)
        cls.reach(cls.policy if given else request.getfixturevalue("retry_policy"))

    @classmethod
    def reach(cls, service: Any) -> None:
        """Set the policy."""
        cls.policy = service

    @classmethod
    def subjects(cls) -> list[Subject]:
        """The policy, made from the first of its good parameters."""
        policy: PolicyUnderTest = cls.policy
        installed = policy.make is _installed
        return [Subject(Kind.RETRY_POLICY, policy.name, lambda: policy.made(policy.good[0]), installed)]

    def require(self, check: Check) -> None:
        """Every check applies to every policy."""

    @holds("P1")
    def test_delays_are_finite_and_never_negative(self) -> None:
        """At the first retries, where arithmetic goes wrong, and at the millionth, whatever is drawn."""
        randoms = (Random(self.profile.seed), _Extreme(0.0), _Extreme(1.0 - 2.0**-53))
        for parameters, policy in self.policy.each():
            for retry in _RETRIES:
                for drawing in randoms:
                    _expect_sound(policy, retry, drawing, parameters)

    @holds("P1")
    def test_delays_of_any_retry_are_finite_and_never_negative(self) -> None:
        """Retries and seeds drawn by Hypothesis."""
        policies = list(self.policy.each())

        @self.profile.settings()
        @hypothesis.given(st.sampled_from(range(len(policies))), st.integers(1, 10**6), st.integers())
        def sound(which: int, retry: int, seed: int) -> None:
            parameters, policy = policies[which]
            _expect_sound(policy, retry, Random(seed), parameters)

        sound()

    @holds("P1")
    def test_no_delay_is_longer_than_the_cap(self) -> None:
        """Where the author names a parameter that is the longest delay, none is longer."""
        for parameters, policy, cap in self._capped():
            for retry in _RETRIES:
                for drawing in self._drawings():
                    delay = policy.delay_seconds(retry, drawing)
                    assert delay <= cap, f"with {dict(parameters)}, retry {retry} waits {delay} seconds"

    def _capped(self) -> Iterator[tuple[Parameters, RetryPolicy, float]]:
        """Policies with a cap, and the same ones with a cap that is below all else, where they take it."""
        for parameters in self.policy.good if self.policy.cap is not None else ():
            given = parameters.get(str(self.policy.cap))
            for cap in (given, *_LOW_CAPS) if given is not None else ():
                with suppress(InvalidSignature):
                    capped = {**parameters, str(self.policy.cap): cap}
                    yield capped, self.policy.made(capped), cap

    def _drawings(self) -> Iterator[Random]:
        """Random numbers of many seeds, and those at the ends of what can be drawn."""
        yield from (_Extreme(0.0), _Extreme(1.0 - 2**-53), _Extreme(0.5))
        yield from (Random(self.profile.seed + number) for number in range(_SEEDS))

    @holds("P2")
    def test_the_same_seed_gives_the_same_delays(self) -> None:
        """All randomness is the random.Random that is handed in."""
        for parameters, policy in self.policy.each():
            for seed in range(self.profile.races):
                first, again = (_delays(policy, Random(seed)) for _ in range(2))
                assert first == again, f"with {dict(parameters)} and seed {seed}: {first[:5]} and then {again[:5]}"

    @holds("P2")
    def test_the_delays_are_the_same_at_another_time(self) -> None:
        """The worker that plans a retry has another clock than the one that plans the next: a policy asks none."""
        for parameters in self.policy.good:
            expected = _delays(self.policy.made(parameters), Random(self.profile.seed))
            for seconds in _LATER_SECONDS:
                policy = self.policy.made(parameters)
                with _clocks_ahead(seconds, type(policy).__module__, *_modules_of(policy)):
                    found = _delays(policy, Random(self.profile.seed))
                what = f"with {dict(parameters)}: {expected[:5]}, and {seconds} seconds later {found[:5]}"
                assert found == expected, what

    @holds("P2", "P3")
    def test_the_delays_are_the_same_in_another_process(self) -> None:
        """Neither the number of the process nor its seed of hashes makes a difference."""
        for parameters in self.policy.good:
            expected = _delays(self.policy.made(parameters), Random(self.profile.seed))
            for found in self._elsewhere(parameters):
                assert found == expected, f"with {dict(parameters)}: {expected[:5]}, and in another process {found[:5]}"

    def _elsewhere(self, parameters: Parameters) -> Iterator[list[float]]:
        """The delays in a forked process, with another seed of hashes, and in one that is started for it."""
        with patch.object(builtins, "hash", _other_hash):
            yield _delays(self.policy.made(parameters), Random(self.profile.seed))
        if hasattr(os, "fork"):
            yield _in_a_child(lambda: _delays(self.policy.made(parameters), Random(self.profile.seed)))
        if self.policy.make is _installed:
            yield _in_another_process(self.policy.name, parameters, self.profile.seed)

    @holds("P2")
    def test_the_global_random_numbers_are_left_alone(self) -> None:
        """Neither drawn from nor seeded: others draw from them too."""
        for parameters, policy in self.policy.each():
            random.random()  # so that setting the seed again is a change
            before = random.getstate()
            delays = _delays(policy, Random(0))
            untouched = random.getstate() == before
            assert untouched, f"with {dict(parameters)} it uses the module random: {delays[:5]}"

    @holds("P3")
    def test_a_policy_made_twice_gives_the_same_delays(self) -> None:
        """The worker that plans a retry and the one that plans the next have each made their own."""
        for parameters, policy in self.policy.each():
            expected = _delays(policy, Random(self.profile.seed))
            again = [self.policy.made(parameters) for _ in range(self.profile.races)]  # none takes another's address
            for found in (_delays(each, Random(self.profile.seed)) for each in again):
                assert found == expected, f"with {dict(parameters)}: {expected[:5]} and {found[:5]}"

    @holds("P3")
    def test_policies_of_other_parameters_do_not_meet(self) -> None:
        """What was made before, with other parameters, changes nothing."""
        policies = [(parameters, self.policy.made(parameters)) for parameters in self.policy.good]
        expected = [_delays(policy, Random(self.profile.seed)) for _, policy in policies]
        for (parameters, _), delays in reversed(list(zip(policies, expected, strict=True))):
            found = _delays(self.policy.made(parameters), Random(self.profile.seed))
            assert found == delays, f"with {dict(parameters)}: {delays[-3:]}, and made again {found[-3:]}"

    @holds("P3")
    def test_the_parameters_stay_the_caller_s(self) -> None:
        """A signature carries them on: making a policy, and asking it, changes none of them."""
        for parameters in self.policy.good:
            given = deepcopy(dict(parameters))
            _delays(self.policy.make(self.policy.name, given), Random(self.profile.seed))
            assert given == dict(parameters), f"of {dict(parameters)}, the policy has made {given}"

    @holds("P4")
    def test_the_good_parameters_are_taken_and_the_bad_ones_refused(self) -> None:
        """What the author names."""
        for parameters in self.policy.good:
            self.policy.made(parameters)
        for parameters in self.policy.bad:
            self._expect_refused(parameters)

    @holds("P4")
    def test_an_unknown_parameter_is_refused(self) -> None:
        """A misspelt one would otherwise change nothing, and nobody would know."""
        for parameters in self.policy.good:
            self._expect_refused({**parameters, "no_such_parameter": 1})

    @holds("P4")
    def test_a_number_that_is_none_is_refused(self) -> None:
        """Where a number belongs, text, a list, NaN or an infinity is refused, when the policy is made.

        So is a number that is written as text, and one of these in a list of numbers.
        """
        for parameters in self.policy.good:
            for name, value in parameters.items():
                for wrong in _in_place_of(value):
                    self._expect_refused({**parameters, name: wrong})

    @holds("P1", "P4")
    def test_a_huge_number_is_refused_or_harmless(self) -> None:
        """Parameters come with messages: a number of four hundred digits must not overflow anything."""
        for parameters in self.policy.good:
            for name in (name for name, value in parameters.items() if type(value) in {int, float}):
                self._expect_refused_or_sound({**parameters, name: 10**400})

    @holds("P5")
    def test_the_order_of_asking_does_not_matter(self) -> None:
        """The delay of a retry is the same whichever retries were asked for before, how often, and with what seed."""
        for parameters, policy in self.policy.each():
            for seed in range(min(_STORIES, self.profile.races)):
                expected = {retry: self._asked_once(parameters, retry, seed) for retry in _RETRIES}
                for retry in Random(seed).choices(_RETRIES, k=2 * len(_RETRIES)):
                    delay = policy.delay_seconds(retry, Random(seed))
                    what = f"with {dict(parameters)}, retry {retry} waits {delay}, and {expected[retry]} at first"
                    assert delay == expected[retry], what

    def _asked_once(self, parameters: Parameters, retry: int, seed: int) -> float:
        """The delay that a policy gives which was asked for nothing else."""
        fresh: RetryPolicy = self.policy.made(parameters)
        return fresh.delay_seconds(retry, Random(seed))

    def _expect_refused(self, parameters: Parameters) -> None:
        try:
            self.policy.made(parameters)
        except InvalidSignature:
            return
        except Exception as error:
            raise AssertionError(f"{dict(parameters)!r:.200} raised {type(error).__name__}: {error}") from error
        raise AssertionError(f"{dict(parameters)!r:.200} was taken")

    def _expect_refused_or_sound(self, parameters: Parameters) -> None:
        try:
            policy = self.policy.made(parameters)
        except InvalidSignature:
            return
        for retry in _RETRIES:
            _expect_sound(policy, retry, Random(retry), {})


def _in_place_of(value: Plain) -> Iterator[Plain]:
    """What is not a number, in place of a number, or of each number in a list."""
    if type(value) in {int, float}:
        yield from ("soon", "", f"{value}", f" {value} ", [value], {"a": value}, math.nan, math.inf, -math.inf)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for wrong in _in_place_of(item):
                yield [*value[:index], wrong, *value[index + 1 :]]


def _modules_of(policy: RetryPolicy) -> Iterator[str]:
    """The modules whose functions a policy holds, as a wrapper does."""
    for value in vars(policy).values() if hasattr(policy, "__dict__") else ():
        if isinstance(module := getattr(value, "__module__", None), str):
            yield module


@contextmanager
def _clocks_ahead(seconds: float, *modules: str) -> Iterator[None]:
    """Set Python's clocks ahead meanwhile, in ``time`` and where these modules have imported them from."""
    originals = {name: getattr(time, name) for name in _CLOCKS}
    ahead: dict[int, object] = {id(clock): _ahead(clock, seconds, name) for name, clock in originals.items()}
    ahead[id(dt.datetime)] = _datetime_ahead(seconds)
    ahead[id(dt.date)] = _date_ahead(seconds)
    with ExitStack() as stack:
        for module in dict.fromkeys(("time", "datetime", *modules)):
            for name, value in list(vars(sys.modules.get(module, time)).items()):
                if id(value) in ahead:
                    stack.enter_context(patch.object(sys.modules.get(module, time), name, ahead[id(value)]))
        yield


def _ahead(clock: Callable[[], Any], seconds: float, name: str) -> Callable[[], Any]:
    step = int(seconds * 1e9) if name.endswith("_ns") else seconds
    return lambda: clock() + step


def _datetime_ahead(seconds: float) -> type:
    real = dt.datetime

    class Ahead(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return real.now(tz) + dt.timedelta(seconds=seconds)

        @classmethod
        def today(cls) -> dt.datetime:
            return cls.now()

        @classmethod
        def utcnow(cls) -> dt.datetime:
            return cls.now(dt.UTC).replace(tzinfo=None)

    return Ahead


def _date_ahead(seconds: float) -> type:
    real = dt.date

    class Ahead(real):  # type: ignore[misc, valid-type]
        @classmethod
        def today(cls) -> dt.date:
            return real.today() + dt.timedelta(seconds=seconds)

    return Ahead


def _other_hash(value: object) -> int:
    """A hash as another process has it."""
    return _HASH(value) ^ 0x5BD1E995


_HASH = hash


def _in_a_child(call: Callable[[], list[float]]) -> list[float]:
    """What a call returns in a forked child of this process."""
    reading, writing = os.pipe()

    def tell() -> None:
        os.write(writing, json.dumps(call()).encode())

    try:
        in_child(tell)
        delays: list[float] = json.loads(os.read(reading, 65_536))
    finally:
        os.close(reading)
        os.close(writing)
    return delays


_SCRIPT = """
import json, sys
from random import Random
from drivetrain.app.discovery import Drivers
from drivetrain.contract import DriverContext

name, parameters, seed, retries = json.loads(sys.argv[1])
policy, drawing = Drivers(DriverContext()).retry_policy(name, parameters), Random(seed)
print(json.dumps([policy.delay_seconds(retry, drawing) for retry in retries]))
"""


def _in_another_process(name: str, parameters: Parameters, seed: int) -> list[float]:
    asked = json.dumps([name, dict(parameters), seed, _RETRIES])
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", _SCRIPT, asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    assert done.returncode == 0, f"the policy cannot be made in another process: {done.stderr.strip()[-300:]}"
    delays: list[float] = json.loads(done.stdout)
    return delays


def _delays(policy: RetryPolicy, drawing: Random) -> list[float]:
    return [policy.delay_seconds(retry, drawing) for retry in _RETRIES]


def _expect_sound(policy: RetryPolicy, retry: int, drawing: Random, parameters: Parameters) -> None:
    delay = policy.delay_seconds(retry, drawing)
    what = f"with {dict(parameters)}, retry {retry} waits {delay!r} seconds"
    assert type(delay) in {int, float}, f"{what}, which is not a number"
    assert math.isfinite(delay), f"{what}, which is for ever"
    assert delay >= 0, f"{what}, which is in the past"
