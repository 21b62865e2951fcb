"""`drivetrain.contract.Backend`, for every embedded driver that stores."""

import itertools
import threading
import time

import pytest

from drivetrain.contract import (
    Backend,
    BackendCapabilities,
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    Member,
    Outcome,
    Renewal,
    RunLease,
    State,
    StateChange,
    TaskRecord,
    Transition,
)

NOTHING = {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "locks": 0}
PAYLOADS = [b"", b"\0", b"\xff\xfe not utf-8", bytes(range(256)), b"x" * 100_000]
HOSTILE_IDS = ["plain", "a:b", "a/b", "quote'\";--", "new\nline", "nul\0id", "%_*?[x]{y}", "Größe ☃ 😀", "x" * 300]


def wish(task_id="t", state=State.SUCCESS, at=1.0, **fields):
    return Transition(task_id=task_id, state=state, at=at, **fields)


def start(task_id="t", run="r", lease=30.0, **fields):
    return wish(task_id, State.STARTED, run=run, lease=lease, **fields)


def record(backend, *wishes):
    return list(backend.record(wishes))


def applied(backend, *wishes):
    return [outcome.applied for outcome in backend.record(wishes)]


def read(backend, task_id="t"):
    (found,) = backend.read([task_id])
    return found


def done(index, payload=b"p", group_id="g", *, failed=False):
    return Completion(member=Member(group_id, index), payload=payload, failed=failed)


def test_it_is_a_backend(backend):
    """Backend.capabilities, Backend.ping."""
    assert isinstance(backend, Backend)
    assert isinstance(backend.capabilities, BackendCapabilities)
    assert backend.capabilities.stores
    backend.ping()


def test_an_empty_batch_does_nothing(backend):
    """Backend: every method takes a batch; an empty one does nothing."""
    for method in (backend.record, backend.read, backend.renew, backend.complete, backend.read_groups):
        assert list(method([])) == []
    assert list(backend.load_bodies([])) == []
    backend.shorten_retention([], retention_seconds=0)
    backend.forget([])
    backend.open_groups([])
    backend.store_bodies({})
    backend.drop_bodies([])
    assert dict(backend.counts()) == NOTHING


class TestRecord:
    def test_a_record_holds_all_that_was_told(self, backend, clock):
        """Backend.record, Backend.read: TaskRecord field by field."""
        pending = wish(state=State.PENDING, at=1.5, task="mod.add", downstream=b"\0down")
        started = start(at=3.25, worker="w1", received_at=2.75, lease=20)
        ended = wish(at=4.5, worker="w1", run="r", payload=b"\xffdone", retention=60)
        assert applied(backend, pending, started) == [True, True]
        assert read(backend) == TaskRecord(
            task_id="t",
            state=State.STARTED,
            task="mod.add",
            run="r",
            leased_until=clock.now() + 20,
            starts=1,
            downstream=b"\0down",
            entries={
                State.PENDING: StateChange(1.5),
                State.RECEIVED: StateChange(2.75, "w1"),
                State.STARTED: StateChange(3.25, "w1"),
            },
        )
        assert applied(backend, ended) == [True]
        found = read(backend)
        assert (found.state, found.payload, found.downstream) == (State.SUCCESS, b"\xffdone", b"\0down")
        assert (found.leased_until, found.expires_at) == (None, clock.now() + 60)
        assert found.entries[State.SUCCESS] == StateChange(4.5, "w1")

    def test_it_tells_the_record_before(self, backend):
        """Backend.record: for each, whether it did and what was there; in the order of the batch."""
        first, second, third = record(
            backend, wish(state=State.PENDING), start(), wish(state=State.PENDING, payload=b"refused")
        )
        assert first == Outcome(applied=True, before=None)
        assert second.applied
        assert second.before.state is State.PENDING
        assert not third.applied
        assert third.before == read(backend)

    def test_a_repetition_changes_nothing(self, backend):
        """Backend: the same call again changes nothing and answers from what is there."""
        ended = wish(payload=b"1", run="r", retention=60)
        assert applied(backend, start(), ended) == [True, True]
        before = read(backend)
        (again,) = record(backend, ended)
        assert again == Outcome(applied=False, before=before)
        assert read(backend) == before

    def test_the_first_terminal_state_stands(self, backend):
        """States are final: no transition ever leaves a terminal one."""
        record(backend, wish(state=State.CANCELLED, payload=b"first"))
        for state in State:
            assert applied(backend, wish(state=state, attempt=9, payload=b"later")) == [False]
        assert (read(backend).state, read(backend).payload) == (State.CANCELLED, b"first")

    def test_a_live_lease_keeps_others_out(self, backend, clock):
        """Backend.record: STARTED is refused while another run holds the task."""
        assert applied(backend, start(run="a", lease=10), start(run="b")) == [True, False]
        clock.advance(9.9)
        assert applied(backend, start(run="b")) == [False]
        clock.advance(0.2)
        assert applied(backend, start(run="b")) == [True]
        assert read(backend).starts == 2

    def test_a_run_that_lost_its_lease_is_fenced(self, backend, clock):
        """Backend.record: only the run that holds the task speaks for it."""
        record(backend, start(run="a", lease=10))
        clock.advance(11)
        record(backend, start(run="b"))
        stale = [wish(state=state, run="a") for state in (State.SUCCESS, State.FAILURE, State.RETRY, State.RECEIVED)]
        assert applied(backend, *stale) == [False] * 4
        assert applied(backend, wish(run="b")) == [True]

    def test_a_lease_that_ended_unnoticed_still_speaks(self, backend, clock):
        """Backend.record: a run is fenced off by another, not by time alone."""
        record(backend, start(lease=1))
        clock.advance(100)
        assert applied(backend, wish(run="r")) == [True]

    def test_concurrent_starts_let_one_through(self, service, together):
        """Backend.record: each entry is atomic."""
        backends = [service.backend() for _ in range(4)]
        for number in range(5):
            calls = [
                lambda b=backend, n=number, i=index: applied(b, start(f"t{n}", run=f"r{i}"))
                for index, backend in enumerate(backends)
            ]
            assert sorted(together(*calls)) == [[False], [False], [False], [True]]

    def test_concurrent_ends_let_one_through(self, service, together):
        """Backend.record: first terminal wins."""
        backends = [service.backend() for _ in range(4)]
        answers = together(
            *[lambda b=backend, i=index: applied(b, wish(payload=b"%d" % i)) for index, backend in enumerate(backends)]
        )
        assert answers.count([True]) == 1
        assert read(backends[0]).payload == b"%d" % answers.index([True])

    @pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"{len(payload)} bytes")
    def test_payloads_byte_for_byte(self, backend, payload):
        """TaskRecord.payload and downstream are opaque; empty is not None."""
        record(backend, wish(payload=payload, downstream=payload))
        assert (read(backend).payload, read(backend).downstream) == (payload, payload)

    def test_no_payload_is_none(self, backend):
        """TaskRecord.payload: None when none was told."""
        record(backend, wish(state=State.PENDING))
        assert (read(backend).payload, read(backend).downstream) == (None, None)

    @pytest.mark.parametrize("task_id", HOSTILE_IDS, ids=repr)
    def test_any_id(self, backend, task_id):
        """Ids, names, runs and workers are text, whatever they hold."""
        record(backend, start(task_id, run=task_id, task=task_id, worker=task_id))
        found = read(backend, task_id)
        assert (found.task_id, found.run, found.task) == (task_id, task_id, task_id)
        assert found.entries[State.STARTED].worker == task_id
        assert list(backend.read([task_id + "x", task_id.upper() + "X"])) == [None, None]

    def test_reading_keeps_the_order_asked_for(self, backend):
        """Backend.read: in the order asked for; None where nothing is known."""
        record(backend, *[wish(name) for name in "abc"])
        found = backend.read(["c", "unknown", "a", "c"])
        assert [each and each.task_id for each in found] == ["c", None, "a", "c"]

    def test_another_object_sees_it(self, service, clock):
        """One service, several objects."""
        one, other = service.backend(clock), service.backend(clock)
        record(one, wish(payload=b"p"))
        assert read(other) == read(one)

    def test_unfinished_lists_what_is_not_terminal(self, backend):
        """Backend.unfinished."""
        record(backend, start("a"), wish("b"), wish("c", State.PENDING), start("d"), wish("d", run="r"))
        assert {found.task_id for found in backend.unfinished(limit=10).records} == {"a", "c"}
        assert len(backend.unfinished(limit=1).records) == 1
        (found,) = [each for each in backend.unfinished(limit=10).records if each.task_id == "a"]
        assert found == read(backend, "a")


class TestRenew:
    def test_it_prolongs_from_now(self, backend, clock):
        """Backend.renew."""
        record(backend, start(lease=10))
        clock.advance(8)
        (renewal,) = backend.renew([RunLease(task_id="t", run="r", seconds=10)])
        assert renewal == Renewal(held=True, state=State.STARTED)
        assert read(backend).leased_until == pytest.approx(clock.now() + 10)
        clock.advance(8)
        assert applied(backend, start(run="other")) == [False]

    def test_it_tells_for_each_what_became_of_it(self, backend, clock):
        """Renewal: held and state."""
        record(backend, start("mine", run="a", lease=1), start("lost", run="a", lease=1), start("stopped", run="a"))
        clock.advance(2)
        record(backend, start("lost", run="b"), wish("stopped", State.CANCELLED), wish("sent", State.PENDING))
        names = ["mine", "lost", "stopped", "sent", "unknown"]
        before = list(backend.read(names[1:]))
        answers = backend.renew([RunLease(task_id=name, run="a", seconds=10) for name in names])
        assert list(answers) == [
            Renewal(held=True, state=State.STARTED),
            Renewal(held=False, state=State.STARTED),
            Renewal(held=False, state=State.CANCELLED),
            Renewal(held=False, state=State.PENDING),
            Renewal(held=False, state=None),
        ]
        assert list(backend.read(names[1:])) == before


class TestWait:
    @pytest.fixture(autouse=True)
    def _pushing(self, service):
        if not service.backend().capabilities.notifies:
            pytest.skip("Backend.wait is only called where notifies is declared")

    def test_what_is_terminal_already_returns_at_once(self, backend):
        """Backend.wait never misses a state that was set before it was called."""
        record(backend, wish("a"), start("b"), wish("c", State.FAILURE))
        assert set(backend.wait(["a", "b", "c"], timeout_seconds=20)) == {"a", "c"}

    def test_what_is_gone_returns_at_once(self, backend, clock):
        """Backend.wait: terminal or gone."""
        record(backend, wish("expired", retention=0), start("forgotten"), start("other"))
        backend.forget(["forgotten"])
        names = ["expired", "forgotten", "never sent", "other"]
        assert set(backend.wait(names, timeout_seconds=20)) == set(names[:3])

    def test_in_vain(self, service):
        """Backend.wait: empty when the time ran out."""
        backend = service.backend()
        record(backend, start())
        before = time.monotonic()
        assert list(backend.wait(["t"], timeout_seconds=0.03)) == []
        assert list(backend.wait(["t"], timeout_seconds=0)) == []
        assert 0.025 <= time.monotonic() - before < 2

    @pytest.mark.parametrize("state", [state for state in State if state.terminal])
    def test_a_terminal_state_wakes_it(self, service, background, state):
        """Backend.wait, by another object."""
        waiter, worker = service.backend(), service.backend()
        record(worker, start("a"), wish("b", State.RECEIVED))
        waiting = background(waiter.wait, ["a", "b"], timeout_seconds=20)
        record(worker, wish("c"), wish("b", state))
        assert list(waiting.result(5)) == ["b"]

    def test_forgetting_wakes_it(self, service, background):
        """Backend.wait: gone."""
        waiter, other = service.backend(), service.backend()
        record(other, start())
        waiting = background(waiter.wait, ["t"], timeout_seconds=20)
        other.forget(["t"])
        assert list(waiting.result(5)) == ["t"]

    def test_never_missed_however_it_falls(self, service, together):
        """Backend.wait: a state set at the very moment of the call is not missed."""
        waiter, worker = service.backend(), service.backend()
        for number in range(20):
            name = f"t{number}"
            record(worker, start(name))
            ended, _ = together(
                lambda name=name: waiter.wait([name], timeout_seconds=20), lambda name=name: record(worker, wish(name))
            )
            assert list(ended) == [name]

    def test_close_wakes_it(self, service, background):
        """Backend.close: while another thread is inside wait."""
        backend = service.backend()
        record(backend, start())
        waiting = background(backend.wait, ["t"], timeout_seconds=60)
        deadline = time.monotonic() + 10
        while not waiting.ended(0.01) and time.monotonic() < deadline:
            backend.close()  # again, since the thread may not have been inside yet
        assert list(waiting.result(0)) == []


class TestRetention:
    def test_a_record_expires_exactly(self, backend, clock):
        """Backend: a record whose time has come is gone for every method at once, swept or not."""
        record(backend, start(), wish(run="r", retention=10))
        clock.advance(9.75)
        assert read(backend).expires_at == clock.now() + 0.25
        clock.advance(0.25)
        assert read(backend) is None
        assert dict(backend.counts()) == NOTHING
        assert list(backend.renew([RunLease(task_id="t", run="r", seconds=1)])) == [Renewal(held=False, state=None)]

    def test_what_has_expired_is_not_counted(self, backend, clock):
        """Backend.counts: gone for every method at once."""
        backend.open_groups([Group(group_id="t", size=1)])
        backend.complete([done(0, group_id="t")])
        record(backend, wish(retention=10), wish("kept", retention=11))
        clock.advance(10)
        assert dict(backend.counts()) == {**NOTHING, "tasks": 1}

    def test_no_retention_is_for_ever(self, backend, clock):
        """Transition.retention: None means for ever."""
        record(backend, wish())
        clock.advance(100 * 366 * 86_400)
        assert backend.sweep() == 0
        assert read(backend).state is State.SUCCESS

    def test_zero_is_gone_at_once(self, backend):
        """Transition.retention: 0."""
        assert applied(backend, wish(retention=0)) == [True]
        assert read(backend) is None

    def test_an_expired_task_may_be_recorded_anew(self, backend, clock):
        """Backend.record: an expired record is no record."""
        record(backend, wish(retention=5, payload=b"old"))
        clock.advance(6)
        (outcome,) = record(backend, wish(state=State.PENDING))
        assert outcome == Outcome(applied=True, before=None)
        assert read(backend).payload is None
        clock.advance(1000)
        backend.sweep()
        assert read(backend).state is State.PENDING

    def test_unfinished_never_expires(self, backend, clock):
        """Backend: only records of terminal tasks expire."""
        record(backend, wish("sent", State.PENDING, retention=1), start("run"), start("again"))
        record(backend, wish("again", State.RETRY, run="r", retention=1))
        backend.shorten_retention(["sent", "run", "again"], retention_seconds=0)
        clock.advance(1e9)
        assert backend.sweep() == 0
        assert None not in backend.read(["sent", "run", "again"])

    def test_sweep_drops_what_has_expired(self, backend, clock):
        """Backend.sweep: how many records."""
        record(backend, *[wish(f"{number}", retention=5) for number in range(20)], wish("kept"))
        assert backend.sweep() == 0
        clock.advance(6)
        assert backend.sweep() == 20
        assert backend.sweep() == 0
        assert dict(backend.counts()) == {**NOTHING, "tasks": 1}

    @pytest.mark.parametrize("planned", [None, 100.0])
    def test_settle_brings_the_expiry_forward(self, backend, clock, planned):
        """Backend.shorten_retention: expire from now, where that is earlier."""
        record(backend, wish(retention=planned))
        clock.advance(50)
        backend.shorten_retention(["t", "unknown"], retention_seconds=10)
        assert read(backend).expires_at == clock.now() + 10
        clock.advance(10)
        assert read(backend) is None

    def test_settle_never_puts_it_off(self, backend, clock):
        """Backend.shorten_retention: where that is earlier than now planned."""
        record(backend, wish(retention=5))
        before = read(backend)
        backend.shorten_retention(["t"], retention_seconds=100)
        assert read(backend) == before

    def test_settle_to_nothing(self, backend):
        """Backend.shorten_retention: zero included."""
        record(backend, wish("a"), wish("b"), start("c"))
        backend.shorten_retention(["a", "c"], retention_seconds=0)
        assert [each and each.task_id for each in backend.read("abc")] == [None, "b", "c"]

    def test_forget_drops_whatever_its_state(self, backend):
        """Backend.forget."""
        record(backend, wish("a", retention=50), start("b"), wish("c", State.PENDING), wish("d"))
        backend.open_groups([Group(group_id="b", size=1), Group(group_id="alone", size=1)])
        backend.complete([done(0, group_id="b")])
        backend.forget(["a", "b", "c", "d", "alone", "unknown"])
        assert dict(backend.counts()) == NOTHING
        assert list(backend.unfinished(limit=10).records) == []

    @pytest.mark.parametrize("how", ["forget", "expire", "expire and sweep", "settle"])
    def test_the_group_goes_with_the_record_of_its_id(self, backend, clock, how):
        """Backend: forgetting or expiring a record takes the group of the same id with it."""
        backend.open_groups([Group(group_id="g", size=2), Group(group_id="other", size=1)])
        backend.complete([done(0), done(1)])
        record(backend, wish("g", retention=10))
        if how == "forget":
            backend.forget(["g"])
        elif how == "settle":
            backend.shorten_retention(["g"], retention_seconds=0)
        else:
            clock.advance(10)
        if how == "expire and sweep":
            backend.sweep()
        assert [each and each.group_id for each in backend.read_groups(["g", "other"])] == [None, "other"]
        assert list(backend.complete([done(0)])) == [None]
        assert list(backend.read_members("g")) == []
        assert dict(backend.counts()) == {**NOTHING, "groups": 1}

    def test_a_group_does_not_go_with_its_members(self, backend, clock):
        """Backend: nothing else ever goes by itself."""
        backend.open_groups([Group(group_id="g", size=1)])
        record(backend, wish("member", retention=1, payload=b"v", member=Member("g", 0)))
        clock.advance(1e9)
        backend.sweep()
        assert list(backend.read_members("g")) == [b"v"]


class TestGroups:
    def test_open_and_read(self, backend):
        """Backend.open_groups, Backend.read_groups."""
        backend.open_groups(
            [Group(group_id="a", size=3, collect=True, continuation=b"\0\xff"), Group(group_id="b", size=1)]
        )
        assert list(backend.read_groups(["b", "unknown", "a"])) == [
            GroupRecord(group_id="b", size=1, collect=False, continuation=b"", done=0, failed=False),
            None,
            GroupRecord(group_id="a", size=3, collect=True, continuation=b"\0\xff", done=0, failed=False),
        ]

    def test_opening_again_changes_nothing(self, backend):
        """Backend.open_groups: one that is already open stays as it is."""
        backend.open_groups([Group(group_id="g", size=2, continuation=b"first")])
        backend.complete([done(1)])
        backend.open_groups([Group(group_id="g", size=5, collect=True, continuation=b"second")])
        (found,) = backend.read_groups(["g"])
        assert (found.size, found.collect, found.continuation, found.done) == (2, False, b"first", 1)

    def test_the_first_completion_stands(self, backend):
        """Backend.complete: by identity; a repetition changes nothing, and is answered."""
        backend.open_groups([Group(group_id="g", size=2)])
        answers = backend.complete([done(1, b"first"), done(1, b"second"), done(1, b"third", failed=True), done(0)])
        assert list(answers) == [
            GroupProgress(size=2, done=1),
            GroupProgress(size=2, done=1),
            GroupProgress(size=2, done=1),
            GroupProgress(size=2, done=2),
        ]
        assert answers[3].complete
        assert list(backend.read_members("g")) == [b"p", b"first"]
        assert list(backend.complete([done(0)])) == [GroupProgress(size=2, done=2)]

    def test_an_unknown_group(self, backend):
        """Backend.complete: None where the group is not known; nothing is kept for it."""
        backend.open_groups([Group(group_id="g", size=1)])
        answers = backend.complete([done(0, group_id="unknown"), done(0)])
        assert list(answers) == [None, GroupProgress(size=1, done=1)]
        assert dict(backend.counts()) == {**NOTHING, "groups": 1, "members": 1}

    def test_a_failed_member_fails_the_group(self, backend):
        """GroupProgress.failed: it will never be complete."""
        backend.open_groups([Group(group_id="g", size=2)])
        backend.complete([done(0, failed=True)])
        (progress,) = backend.complete([done(1)])
        assert progress == GroupProgress(size=2, done=2, failed=True)
        assert not progress.complete
        assert backend.read_groups(["g"])[0].failed

    def test_a_group_may_collect_failures(self, backend):
        """Group.collect: failed members take their place in the results."""
        backend.open_groups([Group(group_id="g", size=2, collect=True)])
        backend.complete([done(0, b"failure", failed=True)])
        (progress,) = backend.complete([done(1, b"value")])
        assert progress == GroupProgress(size=2, done=2)
        assert list(backend.read_members("g")) == [b"failure", b"value"]
        assert not backend.read_groups(["g"])[0].failed

    def test_members_are_read_in_order(self, backend):
        """Backend.read_members: in the order of the group; None for a member that is not complete."""
        backend.open_groups([Group(group_id="g", size=12)])
        backend.complete([done(index, b"%d" % index) for index in (11, 2, 0, 10, 1)])
        expected = [b"0", b"1", b"2", *[None] * 7, b"10", b"11"]
        assert list(backend.read_members("g")) == expected

    @pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"{len(payload)} bytes")
    def test_members_byte_for_byte(self, backend, payload):
        """Backend.read_members: an empty payload is not a missing one."""
        backend.open_groups([Group(group_id="g", size=1, continuation=payload)])
        backend.complete([done(0, payload)])
        assert list(backend.read_members("g")) == [payload]
        assert backend.read_groups(["g"])[0].continuation == payload

    @pytest.mark.parametrize("index", [-1, 2, 10**6])
    def test_an_index_outside_the_group_completes_nothing(self, backend, index):
        """GroupProgress.done counts members, and this is none."""
        backend.open_groups([Group(group_id="g", size=2)])
        assert list(backend.complete([done(index)])) == [GroupProgress(size=2, done=0)]
        assert list(backend.read_members("g")) == [None, None]

    def test_ids_that_look_alike_are_different_groups(self, backend):
        """Member: group id and index, not their text."""
        backend.open_groups([Group(group_id=name, size=12) for name in ("g", "g:1", "g/1", "g\0", "G", "g%")])
        backend.complete([done(1)])
        assert [found.done for found in backend.read_groups(["g", "g:1", "g/1", "g\0", "G", "g%"])] == [
            1,
            0,
            0,
            0,
            0,
            0,
        ]

    @pytest.mark.parametrize("state", [state for state in State if state.terminal])
    def test_a_granted_transition_completes_its_member(self, backend, state):
        """Backend.record: with the transition's payload, failed unless the state is SUCCESS."""
        backend.open_groups([Group(group_id="g", size=1)])
        (outcome,) = record(backend, wish(state=state, payload=b"v", member=Member("g", 0)))
        assert outcome.group == GroupProgress(size=1, done=1, failed=state is not State.SUCCESS)
        assert list(backend.read_members("g")) == [b"v"]

    def test_a_refused_transition_completes_nothing(self, backend):
        """Transition.member: when, and only when, it is granted."""
        backend.open_groups([Group(group_id="g", size=1)])
        record(backend, start(run="a"))
        (outcome,) = record(backend, wish(run="fenced", member=Member("g", 0)))
        assert not outcome.applied
        assert outcome.group is None
        assert list(backend.read_members("g")) == [None]

    def test_a_transition_that_is_not_terminal_completes_nothing(self, backend):
        """Transition.member: for terminal states."""
        backend.open_groups([Group(group_id="g", size=1)])
        member = Member("g", 0)
        record(backend, start(member=member), wish(state=State.RETRY, run="r", payload=b"next", member=member))
        assert list(backend.read_members("g")) == [None]

    def test_a_member_without_payload_is_complete(self, backend):
        """Backend.read_members: None only for a member that is not complete."""
        backend.open_groups([Group(group_id="g", size=1)])
        record(backend, wish(member=Member("g", 0)))
        assert list(backend.read_members("g")) == [b""]

    def test_a_member_of_an_unknown_group(self, backend):
        """Outcome.group: None when the group is not known; the transition is granted all the same."""
        (outcome,) = record(backend, wish(member=Member("unknown", 0)))
        assert outcome == Outcome(applied=True, before=None)

    def test_a_zero_retention_still_completes_the_member(self, backend):
        """Retention never changes what a workflow does."""
        backend.open_groups([Group(group_id="g", size=1)])
        (outcome,) = record(backend, wish(payload=b"v", retention=0, member=Member("g", 0)))
        assert outcome.group.complete
        assert list(backend.read_members("g")) == [b"v"]

    @pytest.mark.parametrize("by", ["complete", "record"])
    def test_concurrent_finishers(self, service, together, by):
        """Backend.complete: progress is told atomically; someone sees the group complete, whoever repeats what."""
        size, finishers = 8, 4
        backends = [service.backend() for _ in range(finishers)]
        backends[0].open_groups([Group(group_id="g", size=size)])

        def finish(number):
            backend = backends[number]
            if by == "complete":  # every finisher completes every member, each beginning elsewhere
                order = [(number * 2 + step) % size for step in range(size)]
                return [backend.complete([done(index, b"%d by %d" % (index, number))])[0] for index in order]
            mine = range(number, size, finishers)
            wishes = [wish(f"t{index}", payload=b"%d by" % index, member=Member("g", index)) for index in mine]
            return [record(backend, each)[0].group for each in wishes]

        answers = together(*[lambda n=number: finish(n) for number in range(finishers)])
        counts = [progress.done for mine in answers for progress in mine]
        assert all(mine == sorted(mine, key=lambda progress: progress.done) for mine in answers)
        assert sum(progress.complete for mine in answers for progress in mine) >= 1
        assert max(counts) == size
        if by == "record":  # each was granted once, so each count was told once
            assert sorted(counts) == list(range(1, size + 1))
        payloads = backends[0].read_members("g")
        assert [int(payload.split()[0]) for payload in payloads] == list(range(size))


class TestBodies:
    @pytest.mark.parametrize("body", PAYLOADS, ids=lambda body: f"{len(body)} bytes")
    def test_byte_for_byte(self, backend, body):
        """Backend.store_bodies, Backend.load_bodies."""
        backend.store_bodies({"k": body})
        assert list(backend.load_bodies(["unknown", "k"])) == [None, body]

    @pytest.mark.parametrize("key", HOSTILE_IDS, ids=repr)
    def test_any_key(self, backend, key):
        """Backend.store_bodies: by key."""
        backend.store_bodies({key: b"mine", key + "x": b"other"})
        backend.drop_bodies([key + "x"])
        assert list(backend.load_bodies([key + "x", key])) == [None, b"mine"]

    def test_they_stay_until_dropped(self, backend, clock):
        """Backend.store_bodies: they do not expire."""
        backend.store_bodies({"a": b"1", "b": b"2"})
        backend.store_bodies({"a": b"1"})
        clock.advance(1e9)
        backend.sweep()
        assert dict(backend.counts()) == {**NOTHING, "bodies": 2}
        backend.drop_bodies(["a", "unknown"])
        backend.drop_bodies(["a"])
        assert list(backend.load_bodies(["b", "a"])) == [b"2", None]


class TestLocks:
    def test_one_holder(self, service, clock):
        """Locks.acquire_lock: None while somebody holds it."""
        one, other = service.backend(clock), service.backend(clock)
        assert one.acquire_lock("l", seconds=10) is not None
        assert other.acquire_lock("l", seconds=10) is None
        assert one.acquire_lock("l", seconds=10) is None
        assert other.acquire_lock("another", seconds=10) is not None
        assert dict(one.counts()) == {**NOTHING, "locks": 2}

    def test_it_ends(self, backend, clock):
        """Locks: with an end."""
        token = backend.acquire_lock("l", seconds=10)
        clock.advance(9.9)
        assert backend.acquire_lock("l", seconds=10) is None
        clock.advance(0.2)
        assert backend.renew_lock("l", token, seconds=10) is False
        assert backend.release_lock("l", token) is False
        assert dict(backend.counts()) == NOTHING
        assert backend.acquire_lock("l", seconds=10) is not None

    def test_renewed_from_now(self, backend, clock):
        """Locks.renew_lock: hold it for seconds from now."""
        token = backend.acquire_lock("l", seconds=10)
        clock.advance(9)
        assert backend.renew_lock("l", token, seconds=10) is True
        clock.advance(9)
        assert backend.acquire_lock("l", seconds=10) is None
        clock.advance(1.1)
        assert backend.acquire_lock("l", seconds=10) is not None

    def test_released(self, backend):
        """Locks.release_lock."""
        token = backend.acquire_lock("l", seconds=10)
        assert backend.release_lock("l", token) is True
        assert backend.release_lock("l", token) is False
        assert backend.acquire_lock("l", seconds=10) is not None

    def test_only_the_holder_renews_and_releases(self, backend, clock):
        """Locks: False, and nothing changes, if the token does not hold it."""
        stale = backend.acquire_lock("l", seconds=10)
        clock.advance(11)
        token = backend.acquire_lock("l", seconds=10)
        for foreign in (stale, token + 1, 0, -1):
            assert backend.renew_lock("l", foreign, seconds=1000) is False
            assert backend.release_lock("l", foreign) is False
        assert backend.renew_lock("unknown", token, seconds=1) is False
        assert backend.acquire_lock("l", seconds=10) is None
        clock.advance(10.1)
        assert backend.acquire_lock("l", seconds=10) is not None

    def test_tokens_only_grow(self, service, clock):
        """Locks: a number that grows with every new holder, released, ended, swept or closed in between."""
        backend = service.backend(clock)
        tokens = []
        for number in range(8):
            tokens.append(backend.acquire_lock("l", seconds=10))
            if number % 2:
                assert backend.release_lock("l", tokens[-1])
            else:
                clock.advance(11)
            if number % 3 == 0:
                backend.sweep()
            if number == 5:
                backend.close()
                backend = service.backend(clock)
        assert all(earlier < later for earlier, later in itertools.pairwise(tokens))

    def test_concurrent_takers(self, service, together):
        """Locks.acquire_lock: one of them."""
        backends = [service.backend() for _ in range(4)]
        for number in range(5):
            tokens = together(*[lambda b=b, n=number: b.acquire_lock(f"l{n}", seconds=30) for b in backends])
            assert sum(token is not None for token in tokens) == 1

    @pytest.mark.parametrize("name", HOSTILE_IDS, ids=repr)
    def test_any_name(self, backend, name):
        """Locks: by name."""
        assert backend.acquire_lock(name, seconds=10) is not None
        assert backend.acquire_lock(name, seconds=10) is None
        assert backend.acquire_lock(name + "x", seconds=10) is not None


class TestThreadsAndClose:
    def test_all_methods_may_overlap(self, service, together):
        """Backend: one object, several threads."""
        backend = service.backend()
        stop = threading.Event()

        def work(number):
            names = [f"{number}-{index}" for index in range(10)]
            for name in names:
                record(backend, start(name))
                record(backend, wish(name, run="r", payload=name.encode(), retention=60))
            stop.set()
            return [found.payload.decode() for found in backend.read(names)] == names

        def look():
            while not stop.is_set():
                backend.counts()
                backend.sweep()
            return True

        assert all(together(*[lambda n=n: work(n) for n in range(3)], look))
        assert backend.counts()["tasks"] == 30

    def test_close_twice_and_before_use(self, service):
        """Backend.close."""
        backend = service.backend()
        backend.close()
        backend.close()

    def test_close_does_not_disturb_another_object(self, service, clock):
        """Backend.close lets go of this object's connections only."""
        one, other = service.backend(clock), service.backend(clock)
        record(one, wish(payload=b"kept"))
        one.close()
        assert read(other).payload == b"kept"
