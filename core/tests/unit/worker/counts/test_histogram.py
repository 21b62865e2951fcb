"""Histograms beside the list of durations that they are made of."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from drivetrain.worker.counts.histogram import BOUNDS, Histogram
from drivetrain.worker.counts.tally import Durations
from drivetrain.worker.value_codec import decode, encode

SECONDS = st.one_of(st.floats(0, 2e5, allow_subnormal=False), st.sampled_from(BOUNDS), st.integers(0, 10).map(float))
DURATIONS = st.lists(SECONDS, max_size=40)


class Holder(Struct, frozen=True):
    histogram: Histogram


def bucket(seconds: float) -> int:
    return bisect_left(BOUNDS, seconds)


@given(DURATIONS)
def test_it_counts_adds_and_knows_the_longest(durations: list[float]):
    histogram = Histogram.of(durations)
    assert histogram.count == len(durations)
    assert histogram.sum == pytest.approx(math.fsum(durations))
    assert histogram.max == max(durations, default=0.0)
    assert histogram.mean == (pytest.approx(math.fsum(durations) / len(durations)) if durations else None)
    for number, bound in enumerate(BOUNDS):
        assert sum(histogram.counts[: number + 1]) == sum(one <= bound for one in durations)


@given(DURATIONS, DURATIONS, DURATIONS)
def test_added_up_it_is_the_histogram_of_all_durations(one: list[float], two: list[float], three: list[float]):
    together = Histogram.of([*one, *two, *three])
    for added in (
        Histogram.of(one).plus(Histogram.of(two)).plus(Histogram.of(three)),
        Histogram.of(three).plus(Histogram.of(one).plus(Histogram.of(two))),
    ):
        assert (added.counts, added.max) == (together.counts, together.max)
        assert added.sum == pytest.approx(together.sum)


@given(DURATIONS)
def test_collected_one_by_one_it_is_the_same(durations: list[float]):
    collected = Durations()
    for seconds in durations:
        collected.add(seconds)
    assert collected.histogram() == Histogram.of(durations)


@given(st.lists(DURATIONS, max_size=5))
def test_collected_in_batches_it_is_the_same(batches: list[list[float]]):
    collected = Durations()
    for batch in batches:
        collected.add_all(list(batch))
    found, expected = collected.histogram(), Histogram.of([seconds for batch in batches for seconds in batch])
    assert (found.counts, found.max) == (expected.counts, expected.max)
    assert found.sum == pytest.approx(expected.sum)


@given(st.lists(SECONDS, min_size=1, max_size=40), st.floats(0, 1))
@example([0.0], 1.0)
@example([1e5, 2e5], 0.5)
def test_an_estimate_is_in_the_bucket_of_the_exact_quantile(durations: list[float], fraction: float):
    exact = sorted(durations)[max(0, math.ceil(fraction * len(durations)) - 1)]
    estimate = Histogram.of(durations).quantile(fraction)
    number = bucket(exact)
    assert estimate is not None
    assert (BOUNDS[number - 1] if number else 0.0) <= estimate <= max(durations)
    assert number == len(BOUNDS) or estimate <= BOUNDS[number]


@given(st.lists(SECONDS, min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_quantile_is_not_shorter(durations: list[float], one: float, two: float):
    histogram = Histogram.of(durations)
    assert histogram.quantile(min(one, two)) <= histogram.quantile(max(one, two))


def test_from_a_millisecond_on_an_estimate_is_wrong_by_a_factor_of_three_at_most():
    assert max(high / low for low, high in pairwise(BOUNDS)) <= 3
    assert list(BOUNDS) == sorted(set(BOUNDS))


def test_without_a_duration_there_is_no_quantile():
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_other_quantiles_are_refused(fraction: float):
    with pytest.raises(ValueError, match="does not exist"):
        Histogram.of([1.0]).quantile(fraction)


@given(DURATIONS)
def test_it_is_stored_in_few_bytes_and_read_again(durations: list[float]):
    histogram = Histogram.of(durations)
    assert decode(encode(Holder(histogram)), Holder) == Holder(histogram)


def test_a_usual_one_takes_forty_bytes():
    assert len(encode(Holder(Histogram.of([0.004] * 100)))) < 60
