"""Sweeping and counting versioned values (V11)."""

from __future__ import annotations

from functools import partial

from drivetrain.contract import Backend
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import NOTHING, counts, record, start
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.backends.value_calls import SOON, listed_keys, put, read, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["ValueUpkeepChecks"]

#: Longer than the check takes, and near enough that a service might drop it ahead of time, in seconds.
_LATER_SECONDS = 45.0


class ValueUpkeepChecks(BackendBase):
    """`sweep` drops what has ended, and `counts` counts what is stored."""

    @holds("V11")
    def test_counts_count_values(self) -> None:
        """Each key counts once, however often it was written, until it is removed."""
        one, other = self.several(2)
        assert counts(one) == NOTHING
        for key in ("a", "b", "a"):
            stored(one, key)
        stored(one, "c", seconds=LONG)
        write(one, "d", if_version=1)
        assert counts(other) == {**NOTHING, "values": 3}
        write(other, "a", None)
        write(other, "unknown", None)
        assert counts(one) == {**NOTHING, "values": 2}

    @holds("V11")
    def test_what_has_ended_is_not_counted(self) -> None:
        """Swept or not, and whether anybody has looked at it or not."""
        backend = self.fresh()
        backend.write_values([put(f"k{number}", seconds=SOON) for number in range(5)])
        stored(backend, "stays")
        longest = SOON + self.resolution + self.patience_seconds
        eventually(lambda: counts(backend)["values"] == 1, "one value is counted", longest)
        backend.sweep()
        assert counts(backend) == {**NOTHING, "values": 1}

    @holds("V11")
    def test_a_sweep_drops_what_has_ended_and_nothing_else(self) -> None:
        """Values without an end, empty ones, values whose end is to come, and all else stay."""
        one, other = self.several(2)
        ends = {"stays": None, "later": LONG, "soon": _LATER_SECONDS + self.resolution, "": None}
        versions = {key: stored(one, key, key.encode(), seconds=seconds) for key, seconds in ends.items()}
        one.write_values([put(f"k{number}", seconds=SOON) for number in range(20)])
        record(one, start("runs"))
        one.sweep()
        longest = SOON + self.resolution + self.patience_seconds
        eventually(partial(_all_have_ended, one), "the values end", longest)
        for backend in (one, other, one):
            assert backend.sweep() == 0, "a sweep has dropped records, and there are none that have expired"
        assert listed_keys(other) == sorted(versions)
        for key, version in versions.items():
            found = read(other, key)
            assert found is not None, f"a sweep has dropped {key!r}"
            assert found.version == version
        assert counts(one) == {**NOTHING, "tasks": 1, "values": 4}


def _all_have_ended(backend: Backend) -> bool:
    found = backend.read_values([f"k{number}" for number in range(20)])
    return not any(found)
