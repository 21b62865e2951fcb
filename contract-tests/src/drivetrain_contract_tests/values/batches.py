"""Batches of versioned values (V6, V7)."""

from __future__ import annotations

from drivetrain.contract import ValueOutcome, ValueWrite, VersionedValue
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.batches import at_limits, numbered_names
from drivetrain_contract_tests.backends.calls import counts
from drivetrain_contract_tests.backends.value_calls import listed_keys, outcomes, put, read, remove, stored, write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.comparing import assert_same

__all__ = ["ValueBatchChecks"]

#: Values that are written by one call for each of the profile's races; and never more than this.
_WRITTEN_PER_RACE, _MOST_WRITTEN = 120, 16_500


class ValueBatchChecks(BackendBase):
    """Each entry of a batch takes effect, in order, and has its own answer."""

    @holds("V6")
    def test_values_are_read_in_the_order_of_the_keys(self) -> None:
        """Whatever the order is, with unknown keys between them, and keys that are asked for twice."""
        backend = self.fresh()
        versions = {key: stored(backend, key, key.encode()) for key in ("b", "d", "a", "c")}
        for keys in ("abcd", "dcba", "xbxay", "aabba", "xx", "bdac"):
            found = backend.read_values(list(keys))
            wanted = [
                VersionedValue(value=key.encode(), version=versions[key]) if key in versions else None for key in keys
            ]
            assert list(found) == wanted, f"the values of {list(keys)} were read as {found}"

    @holds("V6")
    def test_every_value_of_a_large_batch_is_read(self) -> None:
        """Values are read at each position of the answer, and None where nothing is stored."""
        backend, names = self.fresh(), numbered_names(self.profile.batch)
        here = at_limits(names)
        backend.write_values([put(name, name.encode()) for name in sorted(here)])
        names += names[:2]  # far behind, and once more
        actual = [None if found is None else found.value for found in backend.read_values(names)]
        assert_same(actual, [name.encode() if name in here else None for name in names], "the values")

    @holds("V7")
    def test_outcomes_come_in_the_order_of_the_writes(self) -> None:
        """Writes that take effect and writes that are refused, of many keys, and removals among them."""
        backend = self.fresh()
        seen = {key: stored(backend, key, key.encode()) for key in "aceg"}
        batch, wanted = list[ValueWrite](), list[tuple[bool, bytes | None]]()
        for key in "gfedcba":
            known = key in seen
            batch.append(put(key, b"new", if_version=0))
            wanted.append((not known, key.encode() if known else b"new"))
        batch.append(remove("c", if_version=seen["c"]))
        wanted.append((True, None))
        batch.append(put("a", b"newer", if_version=seen["a"]))
        wanted.append((True, b"newer"))
        batch.append(put("a", b"newest", if_version=seen["a"]))
        wanted.append((False, b"newer"))
        actual = [
            (outcome.written, None if outcome.current is None else outcome.current.value)
            for outcome in outcomes(backend, *batch)
        ]
        assert_same(actual, wanted, "the outcomes")

    @holds("V7")
    def test_a_later_entry_of_a_batch_sees_the_earlier_ones(self) -> None:
        """Several writes of one key in a batch take effect one after the other."""
        backend = self.fresh()
        answers = outcomes(
            backend,
            put(value=b"1", if_version=0),
            put(value=b"2", if_version=0),
            put("other", b"o"),
            put(value=b"3", seconds=LONG),
            remove(if_version=0),
            remove(),
            remove(if_version=1),
            put(value=b"4", if_version=0),
        )
        assert [answer.written for answer in answers] == [True, False, True, True, False, True, False, True]
        values = [None if answer.current is None else answer.current.value for answer in answers]
        assert values == [b"1", b"1", b"o", b"3", b"3", None, None, b"4"]
        versions = [answers[place].current for place in (0, 3, 7)]
        assert [each.version for each in versions if each is not None] == sorted(
            {each.version for each in versions if each is not None}
        ), "the versions of one key in a batch do not grow"
        assert answers[1].current == answers[0].current, "a refused write answers another value than the stored one"
        assert read(backend) == answers[7].current

    @holds("V7")
    def test_every_write_of_a_large_batch_is_answered(self) -> None:
        """Writes take effect at the limits of services; all others are refused, and their outcomes say so.

        The last entries write the first key again: they see what the first entry has done.
        """
        backend, names = self.fresh(), numbered_names(self.profile.batch)
        here = at_limits(names)
        batch = [put(name, name.encode(), if_version=0 if name in here else 1) for name in names]
        first = names[0]
        batch += [put(first, b"refused", if_version=0), remove(first), put(first, b"last", if_version=0)]
        actual = [
            (outcome.written, None if outcome.current is None else outcome.current.value)
            for outcome in outcomes(backend, *batch)
        ]
        wanted = [(True, name.encode()) if name in here else (False, None) for name in names]
        wanted += [(False, first.encode()), (True, None), (True, b"last")]
        assert_same(actual, wanted, "the outcomes")
        assert listed_keys(backend) == sorted(here)

    @holds("V3", "V7", "V8", "V11")
    def test_every_value_of_a_large_batch_is_stored_listed_and_removed(self) -> None:
        """Many values are written by one call, read, listed and counted, and removed by one call.

        Versions go on for each of them when it is written again, however many were removed.
        """
        names = numbered_names(min(_WRITTEN_PER_RACE * self.profile.races, _MOST_WRITTEN))
        backend = self.fresh()
        versions = dict[str, int]()
        for name, outcome in zip(names, outcomes(backend, *[put(name, name.encode()) for name in names]), strict=True):
            assert outcome.written
            assert outcome.current is not None
            versions[name] = outcome.current.version
        found = [None if each is None else (each.value, each.version) for each in backend.read_values(names)]
        assert_same(found, [(name.encode(), versions[name]) for name in names], "the values")
        for limit in (499, len(names) + 1):
            assert_same(listed_keys(backend, limit=limit), sorted(names), f"the keys that are listed by {limit}")
        assert counts(backend)["values"] == len(names)
        removed = outcomes(backend, *[remove(name, if_version=versions[name]) for name in names])
        assert_same(removed, [ValueOutcome(written=True, current=None)] * len(names), "the outcomes of removals")
        assert counts(backend)["values"] == 0, "values of a large batch were not removed"
        again = outcomes(backend, *[put(name, if_version=0) for name in names])
        grown = [
            name
            for name, each in zip(names, again, strict=True)
            if each.current and each.current.version > versions[name]
        ]
        assert_same(grown, names, "the keys whose versions have grown after a removal")

    @holds("V7")
    def test_one_key_may_be_written_many_times_in_a_batch(self) -> None:
        """Each write has a larger version than the one before it, and the last one stays."""
        backend = self.fresh()
        times = 200
        batch = outcomes(backend, *[put(value=b"%d" % number) for number in range(times)])
        versions = [0 if outcome.current is None else outcome.current.version for outcome in batch]
        assert_same(versions, sorted(set(versions)), "the versions of one key")
        found = read(backend)
        assert found is not None
        assert (found.value, found.version) == (b"%d" % (times - 1), versions[-1])

    @holds("V6", "V7")
    def test_an_empty_batch_of_values_does_nothing(self) -> None:
        """Both methods answer with nothing."""
        backend = self.fresh()
        assert list(backend.read_values([])) == []
        assert list(backend.write_values([])) == []
        assert write(backend).written
