"""The checks of a retry policy (clauses P…)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, ClassVar

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

__all__ = ["PolicyUnderTest", "RetryPolicyContract"]

Parameters = Mapping[str, Plain]

#: Where arithmetic goes wrong: powers of two beyond integers and floats, and the millionth retry.
_RETRIES = (1, 2, 3, 4, 5, 10, 31, 32, 33, 63, 64, 65, 100, 1_023, 1_024, 1_025, 1_476, 10_000, 65_536, 10**6)


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
        """A new policy."""
        return self.make(self.name, parameters)

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
        for parameters, policy in self.policy.each():
            cap = parameters.get(self.policy.cap)
            for retry in _RETRIES if cap is not None else ():
                delay = policy.delay_seconds(retry, Random(self.profile.seed))
                assert delay <= cap, f"with {dict(parameters)}, retry {retry} waits {delay} seconds"

    @holds("P2")
    def test_the_same_seed_gives_the_same_delays(self) -> None:
        """All randomness is the random.Random that is handed in."""
        for parameters, policy in self.policy.each():
            for seed in range(self.profile.races):
                first, again = (_delays(policy, Random(seed)) for _ in range(2))
                assert first == again, f"with {dict(parameters)} and seed {seed}: {first[:5]} and then {again[:5]}"

    @holds("P2")
    def test_the_global_random_numbers_are_left_alone(self) -> None:
        """Neither drawn from nor seeded: others draw from them too."""
        for parameters, policy in self.policy.each():
            random.random()  # so that a seed that is set anew is a change
            before = random.getstate()
            delays = _delays(policy, Random(0))
            untouched = random.getstate() == before
            assert untouched, f"with {dict(parameters)} it uses the module random: {delays[:5]}"

    @holds("P3")
    def test_a_policy_made_twice_gives_the_same_delays(self) -> None:
        """The worker that plans a retry and the one that plans the next have each made their own."""
        for parameters, policy in self.policy.each():
            expected = _delays(policy, Random(self.profile.seed))
            for _ in range(self.profile.races):
                found = _delays(self.policy.made(parameters), Random(self.profile.seed))
                assert found == expected, f"with {dict(parameters)}: {expected[:5]} and {found[:5]}"

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
        """Where a number belongs, text, a list, NaN or an infinity is refused, when the policy is made."""
        for parameters in self.policy.good:
            for name in (name for name, value in parameters.items() if type(value) in {int, float}):
                for wrong in ("soon", [1], {"a": 1}, math.nan, math.inf, -math.inf):
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
            for seed in range(self.profile.races):
                fresh = self.policy.made(parameters)
                expected = {retry: fresh.delay_seconds(retry, Random(seed)) for retry in _RETRIES}
                for retry in Random(seed).choices(_RETRIES, k=2 * len(_RETRIES)):
                    delay = policy.delay_seconds(retry, Random(seed))
                    what = f"with {dict(parameters)}, retry {retry} waits {delay}, and {expected[retry]} at first"
                    assert delay == expected[retry], what

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


def _delays(policy: RetryPolicy, drawing: Random) -> list[float]:
    return [policy.delay_seconds(retry, drawing) for retry in _RETRIES]


def _expect_sound(policy: RetryPolicy, retry: int, drawing: Random, parameters: Parameters) -> None:
    delay = policy.delay_seconds(retry, drawing)
    what = f"with {dict(parameters)}, retry {retry} waits {delay!r} seconds"
    assert type(delay) in {int, float}, f"{what}, which is no number"
    assert math.isfinite(delay), f"{what}, which is for ever"
    assert delay >= 0, f"{what}, which is in the past"
