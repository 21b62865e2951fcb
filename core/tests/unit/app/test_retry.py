"""What users write for retries: functions that give a policy's name and parameters."""

from datetime import timedelta
from random import Random

import pytest

from drivetrain.app import retry
from drivetrain.contract import InvalidSignature, Retries
from drivetrain.drivers.retries import make_retry_policy


class Flaky(Exception):
    pass


def test_never():
    assert retry.never() == Retries(policy="never", max_retries=0)


def test_fixed_takes_seconds_or_a_timedelta():
    assert retry.fixed(90).parameters == retry.fixed(timedelta(minutes=1, seconds=30)).parameters == {"seconds": 90}
    assert retry.fixed(1).max_retries == 3


def test_errors_travel_by_name_and_one_needs_no_list():
    made = retry.fixed(1, retry_on=(OSError, "lib.Odd"), give_up_on=FileNotFoundError)
    assert made.retry_on == ("builtins.OSError", "lib.Odd")
    assert made.give_up_on == ("builtins.FileNotFoundError",)
    assert [made.retries(error) for error in (ConnectionError(), FileNotFoundError(), Flaky())] == [True, False, False]
    assert retry.never().retries(Flaky())
    assert retry.fixed(1, retry_on="builtins.OSError").retry_on == ("builtins.OSError",)


def test_intervals_are_retried_as_often_as_there_are_delays():
    made = retry.intervals([1, timedelta(seconds=2), 3.5])
    assert (made.parameters, made.max_retries) == ({"seconds": [1, 2.0, 3.5]}, 3)
    assert retry.intervals([1], max_retries=9).max_retries == 9


@pytest.mark.parametrize(
    "made",
    [
        retry.never(),
        retry.fixed(0),
        retry.exponential(),
        retry.exponential(base=timedelta(milliseconds=5), factor=3, cap=timedelta(hours=1), jitter=1, max_retries=5),
        retry.fibonacci(),
        retry.fibonacci(start=timedelta(seconds=4), cap=100),
        retry.intervals([timedelta(days=1)]),
    ],
)
def test_each_is_what_its_policy_takes(made):
    policy = make_retry_policy(made.policy, made.parameters)
    assert policy is not None
    assert policy.delay_seconds(1, Random(1)) >= 0


@pytest.mark.parametrize("name", ["exponential", "fibonacci"])
def test_defaults_here_are_the_policy_s_own(name):
    made = getattr(retry, name)()
    assert make_retry_policy(name, made.parameters) == make_retry_policy(name, {})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: retry.fixed("5"), "seconds is '5'"),
        (lambda: retry.fixed(True), "seconds is True"),
        (lambda: retry.exponential(cap=None), "cap is None"),
        (lambda: retry.intervals([]), "at least one delay"),
        (lambda: retry.intervals([1, "2"]), "delays[1] is '2'"),
        (lambda: retry.fixed(1, max_retries=-1), "max_retries is -1"),
        (lambda: retry.fixed(1, retry_on=[int]), "retry_on holds <class 'int'>"),
        (lambda: retry.fixed(1, give_up_on=[ValueError("x")]), "give_up_on holds ValueError"),
    ],
)
def test_wrong_arguments(wrong, told):
    with pytest.raises(InvalidSignature) as caught:
        wrong()
    assert told in str(caught.value)
