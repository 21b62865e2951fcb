"""How long records are stored (R26 to R28)."""

from __future__ import annotations

from functools import partial

from drivetrain.contract import Backend, Member, State
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import (
    counts,
    done,
    granted,
    known,
    open_group,
    progress,
    read,
    record,
    start,
    transition,
)
from drivetrain_contract_tests.backends.timing import LONG_TIMES, ShiftedClock, assert_ends, eventually, timed
from drivetrain_contract_tests.clauses import holds

__all__ = ["RetentionChecks"]

_DAY = 86_400.0


class RetentionChecks(BackendBase):
    """A backend stores terminal records for their retention, and unfinished records until they end."""

    @holds("R26")
    def test_a_record_goes_when_its_retention_is_over(self) -> None:
        """A record is there until its retention is over, fractions of a second included, and gone soon after.

        A retention that is shorter than the service's unit must not be rounded to nothing, nor to for ever.
        """
        backend = self.fresh()
        for seconds in (SHORT, 3 * SHORT, self.resolution / 4):
            name = f"t{seconds}"
            ended = timed(record, backend, transition(name, retention=seconds))
            assert_ends(partial(known, backend, name), ended, seconds, self.resolution)

    @holds("R26")
    def test_a_retention_of_zero_means_at_once(self) -> None:
        """Zero is neither for ever nor a default."""
        backend = self.fresh()
        assert (
            granted(backend, start(), transition(run="r", retention=0.0), transition("new", retention=0.0))
            == [True] * 3
        )
        assert list(backend.read(["t", "new"])) == [None, None]

    @holds("R26")
    def test_a_long_retention_is_not_cut_short(self) -> None:
        """Retentions beyond the limits of a service's units hold all the same, and none means for ever."""
        backend = self.fresh()
        record(
            backend, *[transition(f"t{seconds}", retention=seconds) for seconds in LONG_TIMES], transition("for ever")
        )
        self._let_time_pass(backend)
        backend.sweep()
        for seconds in LONG_TIMES:
            assert read(backend, f"t{seconds}") is not None, f"a retention of {seconds} s is over already"
        assert read(backend, "for ever") is not None

    @holds("R26")
    def test_what_is_for_ever_is_there_in_a_hundred_years(self) -> None:
        """By a clock that is set ahead, records without retention are there, and those of a year just before its end.

        A service that counts by a clock of its own does not see the difference.
        """
        namespace = self.service.namespace()
        record(self.on(namespace), transition("for ever"), transition("year", retention=365 * _DAY))
        in_a_year = self.on(namespace, ShiftedClock(364 * _DAY))
        in_a_year.sweep()
        assert None not in in_a_year.read(["for ever", "year"])
        much_later = self.on(namespace, ShiftedClock(100 * 365 * _DAY))
        much_later.sweep()
        assert read(much_later, "for ever") is not None

    @holds("R26")
    def test_what_has_expired_is_as_if_it_had_never_been(self) -> None:
        """The id of a record that is gone may be recorded again, and the new record has nothing of the old one."""
        backend = self.fresh()
        record(
            backend, start(attempt=3), transition(run="r", attempt=3, payload=b"old", downstream=b"old", retention=0.0)
        )
        (outcome,) = record(backend, transition(state=State.PENDING))
        assert (outcome.applied, outcome.before) == (True, None)
        found = read(backend)
        assert found is not None
        assert (found.payload, found.downstream, found.attempt, found.expires_at) == (None, None, 0, None)

    @holds("R27")
    def test_nothing_unfinished_goes_by_itself(self) -> None:
        """Tasks that have not ended and groups stay when ended ones go, whatever retention was named with them.

        A time to live that begins when a group is opened, or when a member ends, loses workflows that take longer.
        """
        namespace = self.service.namespace()
        backend = self.on(namespace)
        expected = _begin(backend)
        self._let_time_pass(backend)
        backend.sweep()
        self._assert_unchanged(backend, expected)
        in_ten_years = self.on(namespace, ShiftedClock(10 * 365 * _DAY))
        in_ten_years.sweep()
        self._assert_unchanged(in_ten_years, expected)

    @holds("R27")
    def test_a_record_of_an_id_that_is_used_again_does_not_go(self) -> None:
        """When a task is sent again after its record was gone, the old retention is forgotten."""
        backend = self.fresh()
        record(backend, transition(retention=SHORT))
        backend.forget(["t"])
        record(backend, transition(state=State.PENDING))
        self._let_time_pass(backend)
        backend.sweep()
        assert read(backend) is not None

    @holds("R28")
    def test_shortening_brings_the_end_forward(self) -> None:
        """A terminal record goes at the end of a shortened retention, also where it was stored for ever before."""
        backend = self.fresh()
        for name, planned in (("for ever", None), ("long", LONG)):
            record(backend, transition(name, retention=planned))
            settled = timed(backend.shorten_retention, [name, "unknown"], retention_seconds=SHORT)
            assert_ends(partial(known, backend, name), settled, SHORT, self.resolution)

    @holds("R28")
    def test_shortening_never_puts_the_end_off(self) -> None:
        """A record that was to go earlier goes earlier."""
        backend = self.fresh()
        ended = timed(record, backend, transition(retention=SHORT))
        backend.shorten_retention(["t"], retention_seconds=LONG)
        assert_ends(partial(known, backend), ended, SHORT, self.resolution)

    @holds("R28")
    def test_shortening_to_zero_means_at_once(self) -> None:
        """Zero is neither for ever nor a default, and of the batch only terminal records go."""
        backend = self.fresh()
        record(backend, transition("a"), transition("b"), start("c"), transition("d", State.PENDING))
        backend.shorten_retention(["a", "c", "d"], retention_seconds=0.0)
        assert [found and found.task_id for found in backend.read(["a", "b", "c", "d"])] == [None, "b", "c", "d"]

    @holds("R28")
    def test_shortening_leaves_unfinished_records_alone(self) -> None:
        """A task that had not ended when it was settled keeps the retention that its end names."""
        backend = self.fresh()
        record(backend, start("a"), start("b"), start("c"), transition("c", State.RETRY, run="r"))
        before = list(backend.read(["a", "b", "c"]))
        backend.shorten_retention(["a", "b", "c"], retention_seconds=0.0)
        assert list(backend.read(["a", "b", "c"])) == before
        record(backend, transition("a", run="r"))
        assert read(backend, "a") is not None

    def _assert_unchanged(self, backend: Backend, expected: dict[str, int]) -> None:
        assert None not in backend.read(["sent", "runs", "again", "g"])
        assert [found and found.done for found in backend.read_groups(["g", "complete"])] == [2, 1]
        assert list(backend.read_members("g")) == [b"v", b"w", None]
        assert list(backend.load_bodies(["b"])) == [b"body"]
        eventually(lambda: counts(backend) == expected, f"the counts are {expected}", 2 * self.resolution)

    def _let_time_pass(self, backend: Backend) -> None:
        """Return when a record with a short retention is gone: records that expire earlier are gone then too."""
        ended = timed(record, backend, transition("witness", retention=2 * SHORT))
        assert_ends(partial(known, backend, "witness"), ended, 2 * SHORT, self.resolution)


def _begin(backend: Backend) -> dict[str, int]:
    """Begin a workflow, some of whose members have ended; the counts that must stay."""
    open_group(backend, 3, continuation=b"next")
    open_group(backend, 1, "complete")
    progress(backend, [done(0, b"v", "complete")])
    backend.store_bodies({"b": b"body"})
    record(backend, transition("sent", State.PENDING, retention=0.1), start("runs", retention=0.1), start("again"))
    record(backend, transition("again", State.RETRY, run="r", retention=0.1), transition("g", State.PENDING))
    record(backend, transition("member", retention=0.1, payload=b"v", member=Member("g", 0)))
    progress(backend, [done(1, b"w")])
    return {"tasks": 4, "groups": 2, "members": 3, "bodies": 1, "values": 0}
