"""The retry policies of core: their formulas, their bounds, and the errors of wrong parameters."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import InvalidSignature, RetryPolicy
from drivetrain.drivers.retries import LONGEST_SECONDS, make_retry_policy


def delays(name, parameters, count, seed=0):
    policy = make_retry_policy(name, parameters)
    random = Random(seed)
    return [policy.delay_seconds(retry, random) for retry in range(1, count + 1)]


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("never", {}, [0, 0]),
        ("fixed", {"seconds": 1.5}, [1.5, 1.5, 1.5]),
        ("exponential", {"jitter": 0}, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]),
        ("exponential", {"base": 0.1, "factor": 3, "cap": 1, "jitter": 0}, [0.1, 0.1 * 3, 0.1 * 9, 1, 1]),
        ("exponential", {"factor": 1, "jitter": 0}, [1, 1, 1]),
        ("fibonacci", {}, [1, 2, 3, 5, 8, 13, 21, 34]),
        ("fibonacci", {"start": 4}, [5, 8, 13]),
        ("fibonacci", {"start": 5, "cap": 10}, [5, 8, 10, 10]),
        ("fibonacci", {"start": 0}, [1, 2, 3]),
        ("fibonacci", {"start": 2.5, "cap": 0.5}, [0.5, 0.5]),
        ("intervals", {"seconds": [1, 10, 60.5]}, [1, 10, 60.5, 60.5, 60.5]),
    ],
)
def test_formulas(name, parameters, expected):
    assert delays(name, parameters, len(expected)) == expected


def test_jitter_takes_up_to_its_share_and_fills_the_range():
    policy = make_retry_policy("exponential", {"base": 100, "jitter": 0.3, "cap": 100})
    random = Random(7)
    seen = [policy.delay_seconds(1, random) for _ in range(2000)]
    assert 70 <= min(seen) < 70.5
    assert 99.5 < max(seen) <= 100


def test_half_of_a_delay_is_kept_by_default():
    assert all(500 <= delay <= 1000 for delay in delays("exponential", {"base": 1000, "cap": 1000}, 500))


seconds = st.floats(0.000001, LONGEST_SECONDS)
policies = st.one_of(
    st.just(("never", {})),
    st.tuples(st.just("fixed"), st.fixed_dictionaries({"seconds": st.floats(0, LONGEST_SECONDS)})),
    st.tuples(
        st.just("exponential"),
        st.fixed_dictionaries(
            {}, optional={"base": seconds, "factor": st.floats(1, 1000), "cap": seconds, "jitter": st.floats(0, 1)}
        ),
    ),
    st.tuples(
        st.just("fibonacci"),
        st.fixed_dictionaries({}, optional={"start": st.floats(0, LONGEST_SECONDS), "cap": seconds}),
    ),
    st.tuples(
        st.just("intervals"),
        st.fixed_dictionaries({"seconds": st.lists(st.floats(0, LONGEST_SECONDS), min_size=1, max_size=5)}),
    ),
)


@given(policies, st.integers(1, 10**6) | st.just(10**6), st.integers())
def test_every_delay_is_finite_bounded_and_follows_from_the_seed(named, retry, seed):
    name, parameters = named
    policy = make_retry_policy(name, parameters)
    assert isinstance(policy, RetryPolicy)
    delay = policy.delay_seconds(retry, Random(seed))
    assert type(delay) is float
    assert math.isfinite(delay)
    default_cap = {"exponential": 600, "fibonacci": 3600}.get(name, LONGEST_SECONDS)
    assert 0 <= delay <= parameters.get("cap", default_cap)
    assert delay == make_retry_policy(name, parameters).delay_seconds(retry, Random(seed))


def test_all_faults_are_reported_at_once():
    with pytest.raises(InvalidSignature) as caught:
        make_retry_policy("exponential", {"bse": 1, "factor": 0.5, "cap": "x", "jitter": 2, "zzz": 1})
    text = str(caught.value)
    assert "there is no parameter 'bse'; did you mean 'base'?" in text
    assert "there is no parameter 'zzz'; use base, factor, cap, jitter" in text
    assert "factor is 0.5; it must be a number from 1 to 1000" in text
    assert "cap is 'x'" in text
    assert "jitter is 2; it must be a number from 0 to 1" in text


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("never", {"seconds": 1}, "this policy takes none"),
        ("fixed", {}, "seconds is missing"),
        ("fixed", {"seconds": -1}, "seconds is -1"),
        ("fixed", {"seconds": True}, "seconds is True"),
        ("fixed", {"seconds": None}, "seconds is None"),
        ("fixed", {"seconds": math.inf}, "seconds is inf"),
        ("fixed", {"seconds": math.nan}, "seconds is nan"),
        ("fixed", {"seconds": 10**10_000}, "seconds is a huge number"),
        ("exponential", {"base": 0}, "base is 0"),
        ("intervals", {"seconds": []}, "at least one"),
        ("intervals", {"seconds": 5}, "seconds is 5"),
        ("intervals", {"seconds": [1, -2, "x"]}, "seconds[1] is -2"),
        ("intervals", {"seconds": "12"}, "seconds is '12'"),
    ],
)
def test_wrong_parameters(name, parameters, told):
    with pytest.raises(InvalidSignature) as caught:
        make_retry_policy(name, parameters)
    assert told in str(caught.value)


def test_a_name_of_others_is_left_to_others():
    assert make_retry_policy("lunar", {}) is None
