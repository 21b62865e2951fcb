"""Any sequence of calls to a backend and steps of time, beside a small model around `drivetrain.contract.apply`.

The contract suite has such a test too, in real time. Here a clock that is turned by hand lets leases and retentions of
many seconds end within a sequence.
"""

from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from drivetrain.contract import (
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    Member,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskReach,
    Transition,
    apply,
    evolve,
)

NAMES = ["a", "b", "c"]
SIZE = 3

names = st.sampled_from(NAMES)
runs = st.sampled_from([None, "r1", "r2"])
seconds = st.sampled_from([0, 1, 5, 20])
payloads = st.none() | st.binary(max_size=3)
members = st.builds(Member, names, st.integers(-1, SIZE))
transitions = st.builds(
    Transition,
    task_id=names,
    state=st.sampled_from(list(State)),
    attempt=st.integers(0, 2),
    at=st.sampled_from([1.0, 2.5]),
    worker=st.sampled_from(["", "w"]),
    task=st.sampled_from(["", "mod.task"]),
    run=runs,
    lease=st.none() | seconds,
    received_at=st.none() | st.just(0.5),
    payload=payloads,
    downstream=payloads,
    retention=st.none() | seconds,
    member=st.none() | members,
)


class Model:
    """What the contract says, in the simplest form."""

    def __init__(self, clock):
        self.clock = clock
        self.tasks = {}
        self.groups = {}  # group, and its members by index: (payload, failed)

    def expire(self):
        now = self.clock.now()
        for name, found in list(self.tasks.items()):
            if found.expires_at is not None and found.expires_at <= now:
                self.forget(name)

    def forget(self, name):
        self.tasks.pop(name, None)
        self.groups.pop(name, None)

    def record(self, transition):
        self.expire()
        before = self.tasks.get(transition.task_id)
        after = apply(before, transition, self.clock.now())
        if after is None:
            return Outcome(applied=False, before=before)
        self.tasks[transition.task_id] = after
        if transition.member is None or not transition.state.terminal:
            return Outcome(applied=True, before=before)
        progress = self.complete(transition.member, transition.payload or b"", transition.state is not State.SUCCESS)
        return Outcome(applied=True, before=before, group=progress)

    def complete(self, member, payload, failed):
        self.expire()
        if member.group_id not in self.groups:
            return None
        group, done = self.groups[member.group_id]
        if 0 <= member.index < group.size:
            done.setdefault(member.index, (payload, failed))
        return GroupProgress(size=group.size, done=len(done), failed=self.failed(member.group_id))

    def failed(self, group_id):
        group, done = self.groups[group_id]
        return not group.collect and any(failed for _, failed in done.values())

    def read_group(self, group_id):
        if group_id not in self.groups:
            return None
        group, done = self.groups[group_id]
        return GroupRecord(
            group_id=group_id,
            size=group.size,
            collect=group.collect,
            continuation=group.continuation,
            done=len(done),
            failed=self.failed(group_id),
        )

    def read_members(self, group_id):
        if group_id not in self.groups:
            return []
        group, done = self.groups[group_id]
        return [done.get(index, (None, False))[0] for index in range(group.size)]


class BackendMachine(RuleBasedStateMachine):
    """Drives a real backend and the model by the same calls."""

    def __init__(self, backend, clock):
        super().__init__()
        self.backend = backend
        self.clock = clock
        self.model = Model(clock)
        self.prefix = uuid4().hex  # the service is shared by all examples

    def named(self, thing, *attributes):
        return evolve(thing, **{name: self.prefix + getattr(thing, name) for name in attributes})

    def in_group(self, thing):
        return evolve(thing, member=thing.member and self.named(thing.member, "group_id"))

    @property
    def ids(self):
        return [self.prefix + name for name in NAMES]

    @rule(batch=st.lists(transitions, min_size=1, max_size=4))
    def record(self, batch):
        # A task is not a member of the group that is dropped with its own record.
        batch = [
            transition
            for transition in batch
            if transition.member is None or transition.member.group_id != transition.task_id
        ]
        batch = [self.in_group(self.named(transition, "task_id")) for transition in batch]
        assert list(self.backend.record(batch)) == [self.model.record(transition) for transition in batch]

    @rule(name=names, run=st.sampled_from(["r1", "r2"]), attempt=st.integers(0, 1))
    def run_to_the_end(self, name, run, attempt):
        """Two likely transitions, so that stories get somewhere."""
        fields = {"task_id": self.prefix + name, "at": 3.0, "run": run, "attempt": attempt}
        batch = [
            Transition(state=State.STARTED, lease=5, **fields),
            Transition(state=State.SUCCESS, payload=b"v", retention=20, **fields),
        ]
        assert list(self.backend.record(batch)) == [self.model.record(transition) for transition in batch]

    @rule(name=names, collect=st.booleans(), size=st.integers(0, SIZE), continuation=st.binary(max_size=2))
    def open_group(self, name, collect, size, continuation):
        group = Group(group_id=self.prefix + name, size=size, collect=collect, continuation=continuation)
        self.backend.open_groups([group])
        self.model.expire()
        self.model.groups.setdefault(group.group_id, (group, {}))

    @rule(batch=st.lists(st.builds(Completion, member=members, payload=st.binary(max_size=3), failed=st.booleans())))
    def complete(self, batch):
        batch = [self.in_group(each) for each in batch]
        expected = [self.model.complete(each.member, each.payload, each.failed) for each in batch]
        assert list(self.backend.complete(batch)) == expected

    @rule(name=names, run=st.sampled_from(["r1", "r2"]), lease=seconds)
    def renew(self, name, run, lease):
        self.model.expire()
        task_id = self.prefix + name
        found = self.model.tasks.get(task_id)
        held = found is not None and found.state is State.STARTED and found.run == run
        if held:
            self.model.tasks[task_id] = evolve(found, leased_until=self.clock.now() + lease)
        (renewal,) = self.backend.renew([RunLease(task_id=task_id, run=run, seconds=lease)])
        assert renewal == Renewal(held=held, state=found and found.state)

    @rule(name=names, retention=seconds)
    def shorten_retention(self, name, retention):
        task_id, at = self.prefix + name, self.clock.now() + retention
        self.backend.shorten_retention([task_id], retention_seconds=retention)
        self.model.expire()
        found = self.model.tasks.get(task_id)
        if found is not None and found.state.terminal and (found.expires_at is None or at < found.expires_at):
            self.model.tasks[task_id] = evolve(found, expires_at=at)

    @rule(name=names)
    def forget(self, name):
        self.backend.forget([self.prefix + name])
        self.model.forget(self.prefix + name)

    @rule(passed=st.sampled_from([1, 4, 5, 20]))
    def time_passes(self, passed):
        self.clock.advance(passed)

    @rule()
    def sweep(self):
        self.backend.sweep()

    @invariant()
    def same_memory(self):
        self.model.expire()
        assert list(self.backend.read(self.ids)) == [self.model.tasks.get(name) for name in self.ids]
        assert list(self.backend.read_groups(self.ids)) == [self.model.read_group(name) for name in self.ids]
        for name in self.ids:
            assert list(self.backend.read_members(name)) == self.model.read_members(name)

    @invariant()
    def same_unfinished(self):
        listed = {found.task_id for found in self.backend.list_tasks(TaskReach.UNFINISHED.states, limit=1000).records}
        expected = {name for name, found in self.model.tasks.items() if not found.state.terminal}
        assert {name for name in listed if name.startswith(self.prefix)} == expected

    @invariant()
    def same_ended(self):
        if self.backend.capabilities.notifies:
            unfinished = {name for name, found in self.model.tasks.items() if not found.state.terminal}
            ended = set(self.ids) - unfinished
            assert set(self.backend.wait(self.ids, timeout_seconds=0)) == ended

    def teardown(self):
        self.backend.forget(self.ids)


def test_every_story_goes_as_the_model_says(service, clock):
    """Backend.record, renew, shorten_retention, forget, open_groups, complete, sweep and all that reads."""
    backend = service.backend(clock)
    run_state_machine_as_test(
        lambda: BackendMachine(backend, clock),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert set(backend.counts().values()) == {0}
