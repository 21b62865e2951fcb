"""How a run holds its task: leases, starts, renewals (R11 to R13)."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from drivetrain.contract import Backend, Renewal, RunLease, State, StateChange
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import granted, read, record, refused, renewed, start, transition
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.backends.timing import EXACT_SECONDS, LONG_TIMES, ShiftedClock, assert_ends, timed
from drivetrain_contract_tests.clauses import holds

__all__ = ["LeaseChecks"]


class LeaseChecks(BackendBase):
    """A record shows the states of its task and the run that holds it."""

    @holds("R11")
    def test_the_last_entry_of_each_state_is_kept(self) -> None:
        """Time and worker of each state are those of its last entry, and no entry is lost."""
        backend = self.fresh()
        record(backend, transition(state=State.PENDING, at=1.5), start(at=3.25, worker="w1", received_at=2.75))
        record(backend, transition(state=State.RETRY, at=4.125, worker="w1", run="r"))
        record(backend, start(attempt=1, run="s", at=6.5, worker="w2", received_at=5.0))
        record(backend, transition(at=1_700_000_000.123456, worker="w3", run="s", attempt=1))
        found = read(backend)
        assert found is not None
        assert dict(found.history) == {
            State.PENDING: StateChange(1.5),
            State.RECEIVED: StateChange(5.0, "w2"),
            State.STARTED: StateChange(6.5, "w2"),
            State.RETRY: StateChange(4.125, "w1"),
            State.SUCCESS: StateChange(1_700_000_000.123456, "w3"),
        }

    @holds("R11")
    def test_a_release_takes_the_start_back(self) -> None:
        """The history of a released task has the release and no start. The next start adds one."""
        backend = self.fresh()
        record(backend, transition(state=State.PENDING, at=1.0), start(at=3.0, worker="w1", received_at=2.0))
        released = StateChange(4.0, "w1")
        record(backend, transition(state=State.RECEIVED, at=4.0, worker="w1", run="r"))
        assert _history(backend) == {State.PENDING: StateChange(1.0), State.RECEIVED: released}
        record(backend, start(run="s", at=5.0, worker="w2"))
        started = StateChange(5.0, "w2")
        assert _history(backend) == {
            State.PENDING: StateChange(1.0),
            State.RECEIVED: released,
            State.STARTED: started,
        }
        record(backend, transition(state=State.RECEIVED, at=6.0, worker="w2", run="s"))
        record(backend, transition(state=State.CANCELLED, at=7.0))
        assert State.STARTED not in _history(backend)

    @holds("R11")
    def test_a_long_history_stays_right(self) -> None:
        """Also after hundreds of retries and releases, where a driver shortens what it stores."""
        backend = self.fresh()
        for attempt in range(40):
            run = f"r{attempt}"
            record(
                backend,
                start(run=run, attempt=attempt, at=4.0 * attempt, worker="w" * 30),
                transition(state=State.RECEIVED, attempt=attempt, at=4.0 * attempt + 1, worker="w" * 30, run=run),
                start(run=f"{run}s", attempt=attempt, at=4.0 * attempt + 2, worker="v" * 30),
            )
            last = StateChange(4.0 * attempt + 1, "w" * 30), StateChange(4.0 * attempt + 2, "v" * 30)
            assert _history(backend) == {State.RECEIVED: last[0], State.STARTED: last[1]}
        record(backend, transition(state=State.RECEIVED, attempt=39, at=999.0, worker="v", run="r39s"))
        assert _history(backend) == {State.RECEIVED: StateChange(999.0, "v")}

    @holds("R11")
    def test_when_it_was_first_sent_stays_known(self) -> None:
        """A task that is sent again keeps the time of its first sending."""
        backend = self.fresh()
        assert granted(backend, transition(state=State.PENDING, at=1.0), transition(state=State.PENDING, at=5.0)) == [
            True,
            True,
        ]
        found = read(backend)
        assert found is not None
        assert found.history[State.PENDING] == StateChange(1.0)

    @holds("R11")
    def test_any_time_is_kept(self) -> None:
        """Times are Unix seconds with fractions, also after 2038 and 2106, and for microseconds."""
        backend = self.fresh()
        times = [0.0, 0.25, 1.5e9 + 0.000125, 2.0**31 + 0.5, 2.0**32 + 0.5, 4.1e9 + 0.123456]
        record(backend, *[start(f"t{at}", at=at, received_at=at, worker="w") for at in times])
        for at, found in zip(times, backend.read([f"t{at}" for at in times]), strict=True):
            assert found is not None
            assert dict(found.history) == dict.fromkeys((State.RECEIVED, State.STARTED), StateChange(at, "w"))

    @holds("R11")
    def test_a_start_without_a_time_of_receipt_tells_none(self) -> None:
        """A state that was never entered has no entry."""
        backend = self.fresh()
        record(backend, start(at=2.0, worker="w"))
        found = read(backend)
        assert found is not None
        assert dict(found.history) == {State.STARTED: StateChange(2.0, "w")}

    @holds("R12")
    def test_a_renewed_lease_lives_on(self) -> None:
        """A run that has renewed in time keeps its task beyond the end of its first lease."""
        one, other = self.several(2)
        record(one, start(run="a", lease=SHORT))
        assert renewed(one, run="a", seconds=LONG)
        # A lease that is as long and began later has ended when the check goes on: so would the first have.
        witness = timed(granted, one, start("witness", run="a", lease=SHORT))
        assert_ends(partial(refused, other, start("witness", run="b")), witness, SHORT, self.resolution)
        assert granted(other, start(run="b")) == [False]

    @holds("R12")
    def test_a_renewed_lease_counts_from_now(self) -> None:
        """A renewal says how long from now, whatever the lease was before."""
        one, other = self.several(2)
        record(one, start(run="a", lease=LONG))
        again = timed(renewed, one, run="a", seconds=SHORT)
        assert again.answer
        assert_ends(partial(refused, other, start(run="b")), again, SHORT, self.resolution)

    @holds("R12")
    def test_a_renewal_answers_whether_the_run_holds_its_task(self) -> None:
        """A run that no longer holds its task learns so, with the state, and changes nothing.

        CANCELLED is how a run learns that it is to stop.
        """
        backend = self.fresh()
        record(backend, start("mine", run="a"), start("lost", run="a", lease=0.0), start("stopped", run="a"))
        record(
            backend, start("lost", run="b"), transition("stopped", State.CANCELLED), transition("sent", State.PENDING)
        )
        names = ["unknown", "lost", "stopped", "sent", "mine"]
        before = list(backend.read(names[:4]))
        answers = list(backend.renew([RunLease(task_id=name, run="a", seconds=2 * LONG) for name in names]))
        assert answers == [
            Renewal(held=False, state=None),
            Renewal(held=False, state=State.STARTED),
            Renewal(held=False, state=State.CANCELLED),
            Renewal(held=False, state=State.PENDING),
            Renewal(held=True, state=State.STARTED),
        ]
        assert list(backend.read(names[:4])) == before

    @holds("R12")
    def test_a_lease_that_ended_unnoticed_is_renewed(self) -> None:
        """A run that renews late, and before another has asked, has its task again."""
        one, other = self.several(2)
        record(one, start(run="a", lease=0.0))
        assert renewed(one, run="a")
        assert granted(other, start(run="b")) == [False]

    @holds("R13")
    def test_starts_are_counted(self) -> None:
        """Each run that starts an attempt counts once, and an attempt begins at one."""
        backend = self.fresh()
        starts = []
        for asked in (
            transition(state=State.PENDING),
            start(run="a", lease=0.0),
            start(run="a", lease=0.0),
            start(run="b", lease=0.0),
            start(run="c", lease=0.0),
            start(run="d", attempt=1),
        ):
            record(backend, asked)
            found = read(backend)
            starts.append(found and found.starts)
        assert starts == [0, 1, 1, 2, 3, 1]

    @holds("R4", "R12")
    def test_a_long_lease_is_not_cut_short(self) -> None:
        """Leases beyond what 32 bits of milliseconds or seconds hold live on, and renewals do.

        Also shortly before their end, by a clock that is set ahead; services with a clock of their own do not see it.
        """
        namespace = self.service.namespace()
        one, other = self.on(namespace), self.on(namespace)
        for seconds in LONG_TIMES:
            name, late = f"t{seconds}", self.on(namespace, ShiftedClock(0.99 * seconds))
            assert granted(one, start(name, run="a", lease=seconds)) == [True]
            for backend in (other, late):
                assert refused(backend, start(name, run="b")), f"a lease of {seconds} s is over too early"
            assert renewed(one, name, run="a", seconds=seconds)
            for backend in (other, late):
                assert refused(backend, start(name, run="b")), f"a renewal for {seconds} s is over too early"

    @holds("R4", "R12")
    def test_a_lease_is_as_long_as_was_said(self) -> None:
        """A lease of seconds is not a share of it shorter; nor is a renewal.

        Workers renew a lease after a part of its time: one that ends early hands a task to two runs.
        """
        one, other = self.several(2)
        started = timed(granted, one, start("started", run="a", lease=EXACT_SECONDS))
        record(one, start("renewed", run="a", lease=0.0))
        again = timed(renewed, one, "renewed", run="a", seconds=EXACT_SECONDS)
        ends = [
            Background(assert_ends, partial(refused, by, start(name, run="b")), since, EXACT_SECONDS, self.resolution)
            for name, by, since in (("started", one, started), ("renewed", other, again))
        ]
        for each in ends:
            each.result()

    @holds("R13")
    def test_many_starts_are_counted(self) -> None:
        """A task that kills its workers again and again is counted on: neither to ten nor in eight bits."""
        backend, many = self.fresh(), 260
        record(backend, *[start(run=f"r{number}", lease=0.0) for number in range(many)])
        found = read(backend)
        assert found is not None
        assert found.starts == many, f"{many} starts of one attempt are counted as {found.starts}"

    @holds("R3", "R13")
    def test_any_attempt_is_kept(self) -> None:
        """Attempts go up beyond the numbers at which columns end, and none of before may start again."""
        backend = self.fresh()
        attempts = [0, 1, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2**31 - 1]
        record(backend, start(run="r0"))
        for before, attempt in pairwise(attempts):
            assert granted(backend, start(run=f"r{attempt}", attempt=attempt)) == [True]
            found = read(backend)
            assert found is not None
            assert (found.attempt, found.starts) == (attempt, 1)
            assert refused(backend, start(run="late", attempt=before)), f"attempt {before} started after {attempt}"

    @holds("R13")
    def test_a_start_that_was_given_back_does_not_count(self) -> None:
        """A run that gives its task back unharmed has not crashed, so it does not count."""
        backend = self.fresh()
        record(backend, start(run="a", lease=0.0), start(run="b"), transition(state=State.RECEIVED, run="b"))
        found = read(backend)
        assert found is not None
        assert found.starts == 1
        record(backend, start(run="c"))
        found = read(backend)
        assert found is not None
        assert found.starts == 2

    @holds("R13")
    def test_a_run_that_records_its_start_again_keeps_the_count_and_tells_more(self) -> None:
        """A start that a run records again replaces payload and lease of the first, and counts as one start.

        The next run that starts the task reads all of it.
        """
        one, other = self.several(2)
        record(one, start(run="a", lease=0.0, payload=b"first"))
        assert granted(one, start(run="a", payload=b"second")) == [True]
        found = read(one)
        assert found is not None
        assert (found.state, found.starts, found.payload) == (State.STARTED, 1, b"second")
        assert granted(other, start(run="b")) == [False]
        record(one, start(run="a", lease=0.0))
        (outcome,) = record(other, start(run="b"))
        assert outcome.applied
        assert outcome.before is not None
        assert (outcome.before.starts, outcome.before.payload) == (1, b"second")
        record(other, transition(state=State.RECEIVED, run="b"))
        found = read(other)
        assert found is not None
        assert (found.starts, found.payload) == (1, b"second")


def _history(backend: Backend) -> dict[State, StateChange]:
    found = read(backend)
    assert found is not None
    return dict(found.history)
