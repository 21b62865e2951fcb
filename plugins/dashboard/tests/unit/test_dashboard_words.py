"""Numbers and times are written for people."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain_dashboard.drawing.scales import Scale, nice_ceiling, ticks, time_ticks
from drivetrain_dashboard.drawing.words import UNKNOWN, age, amount, duration, exact_time, iso_time, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (12_345, "12,345"), (0.254, "0.254"), (3.14159, "3.14"), (1234.5, "1,234"),
        (1_234_567, "1.23 M"), (-250_000, "-250 k"), (math.inf, UNKNOWN), (math.nan, UNKNOWN), (2e15, "2.00e+03 T"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, UNKNOWN), (math.nan, UNKNOWN), (0, "0 s"), (0.0351, "35.1 ms"), (0.9999, "1 s"),
        (4.2, "4.2 s"), (59.96, "1 min"),
        (200, "3 min 20 s"), (3599.9, "1 h"), (7500, "2 h 5 min"), (190_800, "2 d 5 h"), (-5, "-5 s"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("then", "text"), [(None, UNKNOWN), (1000, "now"), (995, "5 s ago"), (1007.2, "in 7 s"), (400, "10 min ago")]
)
def test_ages(then, text):
    assert age(then, 1000) == text


def test_exact_times():
    assert exact_time(1_800_000_000.25) == "2027-01-15 08:00:00.250 UTC"
    assert iso_time(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"
    assert (exact_time(1e30), iso_time(1e30), exact_time(None), iso_time(None)) == (UNKNOWN, "", UNKNOWN, "")


def test_amounts():
    assert (amount(1, "task"), amount(2, "task"), amount(0, "entry", "entries")) == ("1 task", "2 tasks", "0 entries")


@given(st.floats())
def test_every_number_can_be_written(value):
    assert number(value)
    assert duration(value)
    assert exact_time(value)
    assert age(value, 0.0)


@given(st.lists(st.floats(), max_size=5))
def test_an_axis_ends_at_or_above_all_values(values):
    ceiling = nice_ceiling(values)
    assert ceiling > 0
    assert all(value <= ceiling for value in values if math.isfinite(value))


def test_ticks_of_counts_are_whole_numbers():
    assert ticks(1.0, whole_numbers=True) == [0, 1]
    assert ticks(2.0, whole_numbers=True) == [0, 1, 2]
    assert ticks(1.0, whole_numbers=False) == [0, 0.25, 0.5, 0.75, 1]


def test_ticks_of_time_are_at_round_times():
    since = 1_800_000_000.0 + 125
    assert [tick.text for tick in time_ticks(since, since + 3600, 6)] == [
        "08:10",
        "08:20",
        "08:30",
        "08:40",
        "08:50",
        "09:00",
    ]
    assert "Jan 16" in [tick.text for tick in time_ticks(since, since + 2 * 86_400, 6)]
    assert time_ticks(5, 5, 6) == []


@given(st.integers(0, 4_000_000_000), st.floats(min_value=1e-3, max_value=1e9), st.integers(1, 20))
def test_there_are_never_many_more_ticks_than_asked_for(since, extent, most):
    found = time_ticks(since, since + extent, most)
    assert len(found) <= most + 2
    assert all(since <= tick.at <= since + extent for tick in found)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_scale_stays_within_its_coordinates(first, last, value):
    assert 10 <= Scale(first, last, 10, 20).at(value) <= 20
