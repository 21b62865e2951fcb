"""Batches of any size: every entry takes effect and is answered, also those behind a limit of the service."""

from __future__ import annotations

from drivetrain.contract import (
    Completion,
    Group,
    GroupProgress,
    Member,
    Renewal,
    RunLease,
    ServiceError,
    State,
)
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import (
    counts,
    done,
    known,
    listed_ids,
    open_group,
    progress,
    record,
    start,
    transition,
)
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.comparing import assert_same

__all__ = ["BatchChecks", "at_limits", "numbered_names"]

#: Numbers of entries, bytes or members at which services, drivers and types of columns end.
_LIMITS = (1, 10, 64, 100, 127, 128, 255, 256, 500, 512, 900, 999, 1_000, 1_024, 2_048, 4_095, 4_096, 8_192, 9_999,
           10_000, 15_999, 16_000, 16_384, 32_767, 32_768, 65_535, 65_536)  # fmt: skip
#: Entries of a batch for each of the profile's races; and never more than this.
_ENTRIES_PER_RACE, _MOST_ENTRIES = 840, 70_000
#: Entries of a batch each of which writes a record; of those that only name one there may be many more.
_WRITTEN_PER_RACE, _MOST_WRITTEN = 240, 16_500
#: A larger group may be refused, with an error.
_LARGEST_GROUP = 100_000
#: Ids that are read in one call, whatever the profile: they are unknown, but for a few, and cost little.
_READ = 16_500


class BatchChecks(BackendBase):
    """A batch may be of any size. Most of its names are unknown to the backend; the known ones stand at limits."""

    @property
    def entries(self) -> int:
        """How many entries a batch has that only names records."""
        return min(_ENTRIES_PER_RACE * self.profile.races, _MOST_ENTRIES)

    @property
    def written(self) -> int:
        """How many records are written by one call."""
        return min(_WRITTEN_PER_RACE * self.profile.races, _MOST_WRITTEN)

    @holds("R1", "R6", "R14", "R32")
    def test_every_transition_of_a_large_batch_takes_effect(self) -> None:
        """All are granted, answered with what was there before, kept, listed and counted."""
        backend, names = self.fresh(), numbered_names(min(self.entries, _MOST_WRITTEN))
        for number, state in enumerate((State.PENDING, State.CANCELLED)):
            outcomes = record(backend, *[transition(name, state, payload=name.encode()) for name in names])
            assert_same([outcome.applied for outcome in outcomes], [True] * len(names), "whether each was granted")
            before = [None if outcome.before is None else outcome.before.task_id for outcome in outcomes]
            assert_same(before, names if number else [None] * len(names), "the records before")
            found = backend.read(names)
            actual = [None if each is None else (each.state, each.payload) for each in found]
            assert_same(actual, [(state, name.encode()) for name in names], "the records afterwards")
            if backend.capabilities.lists_tasks:
                assert_same(listed_ids(backend, 500), [] if number else sorted(names), "the unfinished tasks")
        assert counts(backend)["tasks"] == len(names)

    @holds("R14", "R40", needs="lists_tasks")
    def test_all_tasks_of_a_large_batch_are_listed(self) -> None:
        """A list has as many pages as it needs, of tasks that go on and of those that have failed."""
        backend, names = self.fresh(), numbered_names(min(self.entries, _MOST_WRITTEN))
        half = len(names) // 2
        record(backend, *[transition(name, State.PENDING) for name in names[:half]])
        record(backend, *[transition(name, State.FAILURE) for name in names[half:]])
        assert_same(listed_ids(backend, 400), sorted(names[:half]), "the unfinished tasks")
        if State.FAILURE in backend.capabilities.lists_tasks.states:
            found = listed_ids(backend, 400, frozenset({State.FAILURE}))
            assert_same(found, sorted(names[half:]), "the failed tasks")

    @holds("R10")
    def test_every_record_of_a_large_batch_is_read(self) -> None:
        """Records are read at each position of the answer, and None where nothing is known."""
        backend, names = self.fresh(), numbered_names(max(_READ, self.entries))
        here = at_limits(names)
        record(backend, *[transition(name, payload=name.encode()) for name in here])
        actual = [None if found is None else found.payload for found in backend.read(names)]
        assert_same(actual, [name.encode() if name in here else None for name in names], "the payloads")

    @holds("R12")
    def test_every_lease_of_a_large_batch_is_renewed(self) -> None:
        """A run that holds its task gets a renewal; every other run gets the state of its task."""
        one, other = self.several(2)
        names = numbered_names(self.entries)
        here = sorted(at_limits(names))
        record(one, *[start(name, run="r", lease=0.0) for name in here])
        renewals = one.renew([RunLease(task_id=name, run="r", seconds=LONG) for name in names])
        held, unknown = Renewal(held=True, state=State.STARTED), Renewal(held=False, state=None)
        assert_same(list(renewals), [held if name in here else unknown for name in names], "the renewals")
        taken = [outcome.applied for outcome in record(other, *[start(name, run="other") for name in here])]
        assert_same(taken, [False] * len(here), "whether another run took what was renewed")

    @holds("R28")
    def test_every_record_of_a_large_batch_is_shortened(self) -> None:
        """Each terminal record of the batch goes, and no other."""
        backend, names = self.fresh(), numbered_names(self.entries)
        here = sorted(at_limits(names))
        record(backend, *[transition(name) for name in [*here, "other"]])
        backend.shorten_retention(names, retention_seconds=0.0)
        found = [each and each.task_id for each in backend.read([*here, "other"])]
        assert_same(found, [*[None] * len(here), "other"], "what is left")

    @holds("R29")
    def test_every_record_and_group_of_a_large_batch_is_forgotten(self) -> None:
        """Each goes, and no other."""
        backend, names = self.fresh(), numbered_names(self.entries)
        here = sorted(at_limits(names))
        record(backend, *[start(name) for name in [*here, "other"]])
        backend.open_groups([Group(group_id=name, size=1) for name in [*here, "other"]])
        backend.forget(names)
        records, groups = backend.read([*here, "other"]), backend.read_groups([*here, "other"])
        assert_same([each and each.task_id for each in records], [*[None] * len(here), "other"], "the records left")
        assert_same([each and each.group_id for each in groups], [*[None] * len(here), "other"], "the groups left")

    @holds("R31")
    def test_every_body_of_a_large_batch_is_stored_loaded_and_dropped(self) -> None:
        """Many bodies are stored in one call, loaded among unknown keys, and dropped in one call."""
        backend, stored = self.fresh(), numbered_names(self.written)
        backend.store_bodies({name: name.encode() for name in stored})
        keys = numbered_names(max(self.entries, len(stored)))
        bodies = backend.load_bodies(keys)
        assert_same(list(bodies), [name.encode() if name in set(stored) else None for name in keys], "the bodies")
        backend.drop_bodies(keys)
        assert counts(backend)["bodies"] == 0, "bodies of a large batch were not dropped"

    @holds("R23", "R25")
    def test_every_group_of_a_large_batch_is_opened_and_read(self) -> None:
        """Many groups are opened in one call, and read among unknown ones."""
        backend, opened = self.fresh(), numbered_names(self.written)
        backend.open_groups([Group(group_id=name, size=2, continuation=name.encode()) for name in opened])
        names = numbered_names(max(self.entries, len(opened)))
        continuations = [None if found is None else found.continuation for found in backend.read_groups(names)]
        assert_same(
            continuations, [name.encode() if name in set(opened) else None for name in names], "the continuations"
        )

    @holds("R19", "R20")
    def test_every_completion_of_a_large_batch_counts(self) -> None:
        """Each completion is answered, among those of unknown groups, and counts."""
        backend, names = self.fresh(), numbered_names(self.entries)
        here = at_limits(names)
        backend.open_groups([Group(group_id=name, size=1) for name in sorted(here)])
        reported = backend.complete([Completion(member=Member(name, 0), payload=name.encode()) for name in names])
        whole = GroupProgress(size=1, done=1)
        assert_same(list(reported), [whole if name in here else None for name in names], "how each group stands")

    @holds("R24")
    def test_every_member_of_a_batch_of_ends_is_completed_and_told(self) -> None:
        """Several members of one group end in one batch: each outcome says how the group stands after it."""
        backend, size = self.fresh(), 5
        open_group(backend, size)
        batch = [transition(f"t{index}", payload=b"%d" % index, member=Member("g", index)) for index in range(size)]
        reported = [outcome.group for outcome in record(backend, *batch)]
        assert reported == [GroupProgress(size=size, done=number) for number in range(1, size + 1)]
        assert list(backend.read_members("g")) == [b"%d" % index for index in range(size)]

    @holds("R15", "R16", needs="notifies")
    def test_a_wait_looks_at_every_task_of_a_large_batch(self) -> None:
        """The end of any of many tasks wakes a wait; one answer names all tasks that ended before it."""
        waiter, worker = self.several(2)
        names = numbered_names(1_100)
        record(worker, *[transition(name, State.PENDING) for name in names])
        for name in (names[-1], names[70]):
            waiting = Background(waiter.wait, names, timeout_seconds=2 * self.prompt_seconds)
            assert not waiting.ended(0.05), "a wait has ended before any task has"
            record(worker, transition(name))
            assert set(waiting.result(self.prompt_seconds)) == {name}
            names.remove(name)
        ended = [names[0], names[64], names[1_001], names[-1]]
        record(worker, *[transition(name) for name in ended])
        assert set(waiter.wait(names, timeout_seconds=self.prompt_seconds)) == set(ended)

    @holds("R20", "R22")
    def test_members_of_a_large_group_are_kept_at_every_index(self) -> None:
        """Members at indexes beyond the limits of services are counted and read; the others are None."""
        backend, size = self.fresh(), self.entries
        open_group(backend, size)
        indexes = [limit for limit in _LIMITS if limit < size - 1] + [size - 1]
        reported = progress(backend, [done(index, b"%d" % index) for index in indexes])
        wanted = [(size, number, False) for number in range(1, len(indexes) + 1)]
        assert_same(reported, wanted, "the counts after each completion")
        here = set(indexes)
        members = [b"%d" % index if index in here else None for index in range(size)]
        assert_same(list(backend.read_members("g")), members, "the members")

    @holds("R20")
    def test_the_size_of_a_group_is_kept(self) -> None:
        """It is read as it was: services count in 15, 16, 24 or 31 bits. A group that is too large is refused."""
        backend = self.fresh()
        for size in [2**bits + more for bits in (7, 8, 15, 16, 24, 31) for more in (-1, 0, 1)]:
            try:
                open_group(backend, size, f"{size}")
            except ServiceError:
                assert size > _LARGEST_GROUP, f"a group of {size} members was refused"
                continue
            (found,) = backend.read_groups([f"{size}"])
            assert found is not None
            assert found.size == size, f"a group of {size} members has become one of {found.size}"

    @holds("R32")
    def test_sweeping_again_and_again_drops_all_that_has_expired(self) -> None:
        """A sweep does a bounded amount of work; the next one goes on where it ended."""
        backend, names = self.fresh(), numbered_names(self.written)
        record(backend, *[transition(name, retention=0.0) for name in names], start("runs"))
        for _ in range(len(names)):
            backend.sweep()
            if counts(backend) == {"tasks": 1, "groups": 0, "members": 0, "bodies": 0, "values": 0}:
                break
        assert counts(backend)["tasks"] == 1, "sweeping leaves what has expired"
        assert known(backend, "runs")


def numbered_names(count: int) -> list[str]:
    """So many different names."""
    return [f"n{number}" for number in range(count)]


def at_limits(names: list[str]) -> set[str]:
    """The first name, the last, and those on both sides of each limit."""
    near = {index for limit in _LIMITS for index in (limit - 1, limit) if index < len(names)}
    return {names[0], names[-1], *(names[index] for index in near)}
