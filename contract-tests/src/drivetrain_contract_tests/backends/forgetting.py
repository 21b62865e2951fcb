"""What is deleted, and what remains of it (R29 to R32)."""

from __future__ import annotations

from functools import partial

from drivetrain.contract import Backend, State
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import (
    HOSTILE_NAMES,
    NOTHING,
    counts,
    done,
    known,
    listed_ids,
    open_group,
    payloads_up_to,
    progress,
    record,
    start,
    transition,
)
from drivetrain_contract_tests.backends.timing import assert_ends, eventually, timed
from drivetrain_contract_tests.backends.value_calls import stored
from drivetrain_contract_tests.clauses import holds

__all__ = ["ForgettingChecks"]


class ForgettingChecks(BackendBase):
    """What goes leaves nothing behind, and takes nothing else with it."""

    @holds("R29")
    def test_what_is_forgotten_is_gone(self) -> None:
        """Records go whatever their state, groups with and without a record, and nothing of them remains."""
        backend = self.fresh()
        record(backend, transition("a", retention=LONG), start("b"), transition("c", State.PENDING), transition("d"))
        open_group(backend, 1, "b")
        open_group(backend, 2, "alone")
        progress(backend, [done(0, group_id="b"), done(1, group_id="alone")])
        names = ["a", "b", "c", "d", "alone", "unknown"]
        backend.forget(names)
        assert list(backend.read(names)) == [None] * len(names)
        assert list(backend.read_groups(names)) == [None] * len(names)
        assert listed_ids(backend, 10) == []
        assert counts(backend) == NOTHING

    @holds("R29")
    def test_forgetting_takes_nothing_else(self) -> None:
        """Other records, groups and bodies stay, also those whose names look alike."""
        backend = self.fresh()
        for name in HOSTILE_NAMES:
            record(backend, start(name))
            open_group(backend, 1, name)
        backend.store_bodies({"plain": b"body"})
        backend.forget(["plain", "%", "*", "a", "p*", "?", "[a-z]*", "pl_in", "_*", ".*"])
        assert [found is None for found in backend.read(HOSTILE_NAMES)] == [name == "plain" for name in HOSTILE_NAMES]
        assert sum(found is None for found in backend.read_groups(HOSTILE_NAMES)) == 1
        assert list(backend.load_bodies(["plain"])) == [b"body"]

    @holds("R29")
    def test_a_forgotten_id_may_be_used_again(self) -> None:
        """Nothing of what was forgotten comes back with a new task or group of its id."""
        backend = self.fresh()
        for index in range(2):
            open_group(backend, 2, "t", continuation=b"%d" % index)
            assert progress(backend, [done(index, group_id="t")]) == [(2, 1, False)]
            (outcome,) = record(backend, start(attempt=1 - index, payload=b"%d" % index))
            assert (outcome.applied, outcome.before) == (True, None)
            backend.forget(["t"])

    @holds("R30")
    def test_a_group_goes_with_its_record(self) -> None:
        """When the record of its id is forgotten, or gone at once, a group goes too, and leaves nothing behind."""
        for end in (_forget, _settle, _end_at_once):
            backend = self.fresh()
            _open_with_record(backend, retention=LONG, ended=end is not _end_at_once)
            end(backend)
            _assert_gone(backend, end.__name__)

    @holds("R30")
    def test_a_group_goes_when_its_record_expires(self) -> None:
        """When the retention of its record is over, a group is gone for every method, swept or not."""
        backend = self.fresh()
        ended = timed(_open_with_record, backend, retention=SHORT, ended=True)
        assert_ends(lambda: list(backend.read_groups(["g"])) != [None], ended, SHORT, self.resolution)
        assert list(backend.read_members("g")) == []
        assert progress(backend, [done(0)]) == [None]
        backend.sweep()
        eventually(
            lambda: counts(backend) == {**NOTHING, "groups": 1, "members": 1},
            "the counts leave out of what has expired",
            self.resolution + 1,
        )

    @holds("R30")
    def test_a_group_goes_when_its_expired_record_is_written_over(self) -> None:
        """Nothing has looked at a record since its time was over when its id is used again: its group is gone.

        Both by a new record and by a new group of that id; after retention zero and after a short one.
        """
        for number, retention in enumerate((0.0, SHORT)):
            backend = self.fresh()
            names = [f"{number}-recorded", f"{number}-opened"]
            for name in names:
                open_group(backend, 2, name, continuation=b"old")
                progress(backend, [done(0, b"old", name)])
            record(backend, *[transition(name, retention=retention) for name in names])
            # One that is recorded later and is gone already: so are they, and nobody has asked for them.
            ended = timed(record, backend, transition("witness", retention=retention))
            if retention:
                assert_ends(partial(known, backend, "witness"), ended, retention, self.resolution)
            recorded, opened = names
            (outcome,) = record(backend, transition(recorded, State.PENDING))
            assert (outcome.applied, outcome.before) == (True, None)
            assert list(backend.read_groups([recorded])) == [None], "a group has outlived its record"
            assert list(backend.read_members(recorded)) == []
            open_group(backend, 3, opened, continuation=b"new")
            (found,) = backend.read_groups([opened])
            assert found is not None
            assert (found.size, found.done, found.continuation) == (3, 0, b"new"), "a group has outlived its record"
            assert list(backend.read_members(opened)) == [None] * 3

    @holds("R30")
    def test_a_group_does_not_go_with_its_members(self) -> None:
        """The records of members go without it."""
        backend = self.fresh()
        open_group(backend, 2)
        record(backend, transition("a"), transition("b"))
        progress(backend, [done(0, b"a"), done(1, b"b")])
        backend.forget(["a"])
        backend.shorten_retention(["b"], retention_seconds=0.0)
        assert list(backend.read_members("g")) == [b"a", b"b"]

    @holds("R31")
    def test_bodies_are_read_byte_for_byte(self) -> None:
        """A body is loaded as it was stored, under any text as its key, in the order asked for."""
        backend = self.fresh()
        largest = backend.capabilities.largest_value_bytes
        bodies = {f"body {number}": body for number, body in enumerate(payloads_up_to(largest))}
        keyed = {**bodies, **{name: b"%d" % number for number, name in enumerate(HOSTILE_NAMES)}}
        backend.store_bodies(keyed)
        assert list(backend.load_bodies([*keyed, "unknown"][::-1])) == [None, *list(keyed.values())[::-1]]
        backend.drop_bodies(HOSTILE_NAMES[::2])
        remaining = {key: None if key in HOSTILE_NAMES[::2] else body for key, body in keyed.items()}
        assert list(backend.load_bodies(list(keyed))) == list(remaining.values()), "dropping a body took another's"

    @holds("R31")
    def test_a_body_that_is_stored_again_is_the_last_one(self) -> None:
        """Another body under the same key takes the place of the first, also after that was dropped."""
        one, other = self.several(2)
        for number, backend in enumerate((one, other, one)):
            backend.store_bodies({"a": b"a%d" % number, "b": b"b%d" % number})
            assert list(other.load_bodies(["a", "b"])) == [b"a%d" % number, b"b%d" % number]
        one.drop_bodies(["a"])
        assert list(other.load_bodies(["a", "b"])) == [None, b"b2"]
        other.store_bodies({"a": b"again"})
        assert list(one.load_bodies(["a", "b"])) == [b"again", b"b2"]

    @holds("R31")
    def test_bodies_are_kept_until_they_are_dropped(self) -> None:
        """Neither storing again, nor sweeping, nor forgetting a task of that name drops a body; dropping does."""
        backend = self.fresh()
        record(backend, transition("a", retention=0.0), transition("b"))
        for _ in range(2):
            backend.store_bodies({"a": b"1", "b": b"2", "c": b""})
        backend.sweep()
        backend.forget(["a", "b"])
        assert list(backend.load_bodies(["b", "a", "c"])) == [b"2", b"1", b""]
        backend.drop_bodies(["a", "unknown"])
        backend.drop_bodies(["a"])
        assert list(backend.load_bodies(["b", "a", "c"])) == [b"2", None, b""]
        backend.drop_bodies(["b", "c"])
        assert counts(backend) == NOTHING

    @holds("R32")
    def test_the_counts_are_of_what_is_kept(self) -> None:
        """Of tasks, groups, members, bodies and values, each is counted, and nothing else."""
        backend = self.fresh()
        record(backend, transition("a"), start("b"), transition("c", State.PENDING), transition("gone", retention=0.0))
        open_group(backend, 3)
        open_group(backend, 1, "h")
        progress(backend, [done(0), done(0), done(2), done(0, group_id="h")])
        backend.store_bodies({"a": b"1", "b": b""})
        stored(backend, "a")
        stored(backend, "b", seconds=LONG)
        assert counts(backend) == {"tasks": 3, "groups": 2, "members": 3, "bodies": 2, "values": 2}

    @holds("R32")
    def test_sweeping_drops_what_has_expired(self) -> None:
        """After a sweep nothing of what has expired is kept, and all else is as it was."""
        backend = self.fresh()
        backend.store_bodies({"b": b"body"})
        open_group(backend, 1)
        version = stored(backend, seconds=LONG)
        record(
            backend,
            transition("for ever"),
            transition("long", retention=LONG),
            start("runs"),
            transition("sent", State.PENDING),
        )
        ended = timed(record, backend, *[transition(f"t{number}", retention=SHORT) for number in range(20)])
        assert_ends(partial(known, backend, "t19"), ended, SHORT, self.resolution)
        expected = {"tasks": 4, "groups": 1, "members": 0, "bodies": 1, "values": 1}
        eventually(lambda: _swept(backend) == expected, f"after a sweep the counts are {expected}", self.resolution + 1)
        assert None not in backend.read(["for ever", "long", "runs", "sent"])
        assert stored(backend, if_version=version) > version


def _swept(backend: Backend) -> dict[str, int]:
    backend.sweep()
    return counts(backend)


def _open_with_record(backend: Backend, *, retention: float, ended: bool) -> None:
    """Open two groups, and record a task of the id of one."""
    open_group(backend, 2)
    open_group(backend, 1, "other")
    progress(backend, [done(0), done(1), done(0, group_id="other")])
    record(backend, transition("g", retention=retention) if ended else start("g"))


def _forget(backend: Backend) -> None:
    backend.forget(["g"])


def _settle(backend: Backend) -> None:
    backend.shorten_retention(["g"], retention_seconds=0.0)


def _end_at_once(backend: Backend) -> None:
    record(backend, transition("g", run="r", retention=0.0))


def _assert_gone(backend: Backend, how: str) -> None:
    found = [group and group.group_id for group in backend.read_groups(["g", "other"])]
    assert found == [None, "other"], f"{how}: known are {found}"
    assert list(backend.read_members("g")) == []
    assert progress(backend, [done(0)]) == [None]
    assert counts(backend) == {**NOTHING, "groups": 1, "members": 1}
    open_group(backend, 2)
    assert list(backend.read_members("g")) == [None, None], f"{how}: members came back"
