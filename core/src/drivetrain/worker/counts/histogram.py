"""A histogram of durations with fixed buckets. Pure: it can be added up, and gives estimates of quantiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import zip_longest

from msgspec import Struct

__all__ = ["BOUNDS", "Histogram"]

#: The upper bounds of the buckets in seconds, inclusive: a millisecond to a day. Another bucket has what is longer.
#: Stored data depends on them.
BOUNDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)


class Histogram(Struct, frozen=True, array_like=True):
    """How many durations fell into each bucket.

    Attributes:
        counts: the number of durations in each bucket of `BOUNDS`, in order, and in the bucket beyond the last bound.
            Zeros at the end are left out.
        sum: all durations, added up, in seconds.
        max: the longest duration, in seconds; 0 if there is none.
    """

    counts: tuple[int, ...] = ()
    sum: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, durations: Iterable[float]) -> Histogram:
        """The histogram of durations in seconds, 0 or more each."""
        counts, total, longest = [0] * (len(BOUNDS) + 1), 0.0, 0.0
        for seconds in durations:
            counts[bisect_left(BOUNDS, seconds)] += 1
            total += seconds
            longest = max(longest, seconds)
        return cls.of_buckets(counts, total, longest)

    @classmethod
    def of_buckets(cls, counts: Iterable[int], total: float, longest: float) -> Histogram:
        """The histogram of these counts, by bucket; the arguments are those of the class."""
        kept = list(counts)
        while kept and not kept[-1]:
            kept.pop()
        return cls(tuple(kept), total, longest)

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """The mean in seconds; None if there is no duration."""
        return self.sum / count if (count := self.count) else None

    def plus(self, other: Histogram) -> Histogram:
        """The histogram of the durations of both."""
        if not other.counts or not self.counts:
            return self if self.counts else other
        counts = tuple(one + two for one, two in zip_longest(self.counts, other.counts, fillvalue=0))
        return Histogram(counts, self.sum + other.sum, max(self.max, other.max))

    def quantile(self, fraction: float) -> float | None:
        """An estimate of a quantile in seconds; None if there is no duration.

        The estimate is in the same bucket as the exact value, and never beyond the longest duration. So it is wrong by
        less than the width of a bucket: at most a factor of 3 from a millisecond on.

        Args:
            fraction: 0 to 1; 0.5 is the median.

        Raises:
            ValueError: ``fraction`` is beyond that.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"a quantile of {fraction!r} does not exist; use a number from 0 to 1, for example 0.95")
        rank, below = fraction * self.count, 0
        for bucket, count in enumerate(self.counts):
            if count and below + count >= rank:
                low = BOUNDS[bucket - 1] if bucket else 0.0
                high = min(BOUNDS[bucket], self.max) if bucket < len(BOUNDS) else self.max
                return low + (high - low) * max(0.0, rank - below) / count
            below += count
        return None
