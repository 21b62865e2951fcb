"""Groups (R18 to R25)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from functools import partial
from itertools import product

from drivetrain.contract import Backend, Group, GroupProgress, GroupRecord, Member, State
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.calls import (
    HOSTILE_NAMES,
    TERMINAL,
    done,
    granted,
    open_group,
    progress,
    read,
    record,
    start,
    transition,
)
from drivetrain_contract_tests.backends.concurrency import LineUp, in_processes, together
from drivetrain_contract_tests.backends.timing import timed
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.comparing import assert_same

__all__ = ["GroupChecks"]

_THREADS = 4
#: Members of a group that several finish at once.
_SIZE = 12
#: Members that are completed by one call, of a large group.
_BATCH = 500
#: How long that may take: some seconds, and for each member a multiple of the time that one alone takes.
_REASONABLE_SECONDS, _REASONABLE_TIMES = 60.0, 5


class GroupChecks(BackendBase):
    """A group is complete when all its members are, and one completion answers so."""

    @holds("R18")
    def test_a_repeated_completion_changes_nothing(self) -> None:
        """The first completion of a member stands; repetitions are answered, and count for nothing.

        Count members, not completions: messages are delivered twice.
        """
        backend = self.fresh()
        open_group(backend, 3)
        reported = progress(backend, [done(1, b"first"), done(1, b"second"), done(1, b"third", failed=True)])
        assert reported == [(3, 1, False)] * 3
        assert progress(backend, [done(1, b"first")] * 5) == [(3, 1, False)] * 5
        assert progress(backend, [done(0)]) == [(3, 2, False)]
        assert list(backend.read_members("g")) == [b"p", b"first", None]

    @holds("R18")
    def test_a_late_completion_changes_nothing(self) -> None:
        """A repeated completion of a complete group answers that it is complete, and changes nothing."""
        backend = self.fresh()
        open_group(backend, 2)
        progress(backend, [done(0, b"a"), done(1, b"b")])
        assert progress(backend, [done(1, b"late", failed=True), done(0, b"late")]) == [(2, 2, False)] * 2
        assert list(backend.read_members("g")) == [b"a", b"b"]

    @holds("R18")
    def test_members_with_the_same_payload_count_apart(self) -> None:
        """A member is its place in the group, not what it gives."""
        backend = self.fresh()
        open_group(backend, 3)
        assert progress(backend, [done(2, b""), done(0, b""), done(1, b"")])[-1] == (3, 3, False)

    @holds("R19")
    def test_each_completion_answers_for_itself(self) -> None:
        """In a batch, each completion tells how its group stands after it and before the next."""
        backend = self.fresh()
        open_group(backend, 2, "a")
        open_group(backend, 1, "b")
        batch = [done(0, group_id="a"), done(0, group_id="b"), done(0, group_id="a"), done(1, group_id="a")]
        assert progress(backend, batch) == [(2, 1, False), (1, 1, False), (2, 1, False), (2, 2, False)]

    @holds("R18", "R19")
    def test_one_of_several_that_repeat_each_other_sees_the_group_complete(self) -> None:
        """Threads that all complete all members, each in its own order: at least one sees the end, none too early."""
        for _ in range(self.profile.races):
            backends = self.several(_THREADS)
            open_group(backends[0], _SIZE)
            answers = together([partial(_complete_all, each, seed) for seed, each in enumerate(backends)])
            _assert_counts(answers)

    @holds("R19", "R24")
    def test_one_of_several_that_share_the_members_sees_the_group_complete(self) -> None:
        """Threads that end the members between them: each count is reported once, the last one too.

        To read the members, add one and write them back loses those that others add meanwhile.
        """
        for finish, _ in product((_record_some, _complete_some), range(self.profile.races)):
            backends = self.several(_THREADS)
            open_group(backends[0], _SIZE)
            calls = [partial(finish, each, range(number, _SIZE, _THREADS)) for number, each in enumerate(backends)]
            answers = together(calls)
            _assert_counts(answers)
            counts = sorted(count for mine in answers for count, _ in mine)
            assert counts == list(range(1, _SIZE + 1)), (
                f"the counts are {counts}; completing and counting are two steps"
            )

    @holds("R8", "R19", "R24")
    def test_one_of_several_processes_sees_the_group_complete(self) -> None:
        """Processes that all try to run all members: each member is granted to one, and one sees the end."""
        self.require_processes()
        namespace = self.service.namespace()
        backend = self.on(namespace)
        open_group(backend, _SIZE)
        answers = in_processes(self.service.url(namespace), _run_all, 3, prelude=self.service.prelude)
        _assert_counts(answers)
        assert sorted(count for mine in answers for count, _ in mine) == list(range(1, _SIZE + 1))

    @holds("R20")
    def test_a_group_of_one_completes(self) -> None:
        """The only member completes its group."""
        backend = self.fresh()
        for group_id, completion in (("a", done(0, group_id="a")), ("b", done(0, b"", group_id="b"))):
            open_group(backend, 1, group_id)
            assert progress(backend, [completion]) == [(1, 1, False)]
            assert _whole(backend, group_id)

    @holds("R20")
    def test_a_group_of_none_has_no_members(self) -> None:
        """A group without members is kept like any other."""
        backend = self.fresh()
        open_group(backend, 0, continuation=b"next")
        (found,) = backend.read_groups(["g"])
        assert found == GroupRecord(group_id="g", size=0, collect=False, continuation=b"next", done=0, failed=False)
        assert list(backend.read_members("g")) == []

    @holds("R20", "R22")
    def test_a_large_group_completes(self) -> None:
        """A group of thousands completes in reasonable time, its members in order.

        What is done for one member must not grow with the size of the group.
        """
        backend, size = self.fresh(), self.profile.large
        open_group(backend, size)
        indexes = random.Random(0).sample(range(size), size)
        open_group(backend, 2, "small")
        one = max(timed(progress, backend, [done(index, group_id="small")]).seconds for index in range(2))
        began = time.monotonic()
        for first in range(0, size, _BATCH):
            batch = [done(index, b"%d" % index) for index in indexes[first : first + _BATCH]]
            reported = progress(backend, batch)
            wanted = [(size, first + number + 1, False) for number in range(len(batch))]
            assert_same(reported, wanted, "the counts after each completion")
        assert_same(backend.read_members("g"), [b"%d" % index for index in range(size)], "the members")
        took, reasonable = time.monotonic() - began, _REASONABLE_SECONDS + _REASONABLE_TIMES * size * one
        assert took < reasonable, f"{size} members took {took:.0f} seconds, and each alone takes {one:.3f}"

    @holds("R21")
    def test_a_failed_member_fails_its_group(self) -> None:
        """A group that does not collect failures is never complete once a member has failed."""
        backend = self.fresh()
        open_group(backend, 2)
        assert progress(backend, [done(0, failed=True), done(1)]) == [(2, 1, True), (2, 2, True)]
        (last,) = backend.complete([done(1)])
        (found,) = backend.read_groups(["g"])
        assert last is not None
        assert found is not None
        assert not last.complete
        assert found.failed

    @holds("R21")
    def test_a_group_may_collect_failures(self) -> None:
        """In a group that collects failures, a failed member takes its place among the results."""
        backend = self.fresh()
        open_group(backend, 2, collect=True)
        reported = progress(backend, [done(0, b"failure", failed=True), done(1, b"value")])
        assert reported == [(2, 1, False), (2, 2, False)]
        assert list(backend.read_members("g")) == [b"failure", b"value"]
        assert _whole(backend)

    @holds("R21", "R24")
    def test_every_end_but_success_is_a_failure_of_the_member(self) -> None:
        """A member that is cancelled or has expired has failed too."""
        backend = self.fresh()
        for state in TERMINAL:
            open_group(backend, 1, state)
            (outcome,) = record(backend, transition(f"t-{state}", state, payload=b"v", member=Member(state, 0)))
            assert outcome.group == GroupProgress(size=1, done=1, failed=state is not State.SUCCESS)

    @holds("R22")
    def test_members_are_read_in_the_order_of_the_group(self) -> None:
        """Payloads stand at their places, whatever the order of completion; places not yet taken are None."""
        backend = self.fresh()
        open_group(backend, 12)
        progress(backend, [done(index, b"%d" % index) for index in (11, 2, 0)])
        progress(backend, [done(index, b"%d" % index) for index in (10, 1)])
        assert list(backend.read_members("g")) == [b"0", b"1", b"2", *[None] * 7, b"10", b"11"]
        progress(backend, [done(index, b"%d" % index) for index in range(3, 10)])
        assert list(backend.read_members("g")) == [b"%d" % index for index in range(12)]

    @holds("R23")
    def test_opening_again_changes_nothing(self) -> None:
        """A group that is open stays as it is: size, members, whether it collects, and what goes on after it."""
        one, other = self.several(2)
        open_group(one, 2, continuation=b"first")
        progress(one, [done(1, b"v")])
        other.open_groups([Group(group_id="g", size=5, collect=True, continuation=b"second")])
        (found,) = one.read_groups(["g"])
        assert found == GroupRecord(group_id="g", size=2, collect=False, continuation=b"first", done=1, failed=False)
        assert list(one.read_members("g")) == [None, b"v"]

    @holds("R23")
    def test_a_group_that_several_open_at_once_is_one_of_theirs(self) -> None:
        """When several open a group at the same instant, the group is one of theirs and stays so."""
        for _ in range(self.profile.races):
            backends = self.several(_THREADS)
            calls = [
                partial(each.open_groups, [Group(group_id="g", size=number, continuation=b"%d" % number)])
                for number, each in enumerate(backends, 1)
            ]
            together(calls)
            (found,) = {group for each in backends for group in each.read_groups(["g"])}
            assert found is not None
            assert found.continuation == b"%d" % found.size

    @holds("R24")
    def test_a_granted_end_completes_its_member(self) -> None:
        """The outcome of a granted terminal transition says how the group stands; its payload is the member's."""
        backend = self.fresh()
        open_group(backend, 2)
        (outcome,) = record(backend, transition("a", payload=b"v", member=Member("g", 1)))
        assert outcome.group == GroupProgress(size=2, done=1)
        (outcome,) = record(backend, transition("b", member=Member("g", 0)))
        assert outcome.group == GroupProgress(size=2, done=2)
        assert list(backend.read_members("g")) == [b"", b"v"]

    @holds("R24")
    def test_a_refused_end_completes_nothing(self) -> None:
        """A run that is fenced, or comes after the end, completes no member."""
        backend = self.fresh()
        open_group(backend, 2)
        record(backend, start("a", run="holder"), transition("b", State.CANCELLED))
        batch = [transition("a", run="fenced", member=Member("g", 0)), transition("b", member=Member("g", 1))]
        assert [(outcome.applied, outcome.group) for outcome in record(backend, *batch)] == [(False, None)] * 2
        assert list(backend.read_members("g")) == [None, None]

    @holds("R24")
    def test_what_is_not_terminal_completes_nothing(self) -> None:
        """A start or a retry that names its place in a group does not take it yet."""
        backend = self.fresh()
        open_group(backend, 1)
        place = Member("g", 0)
        batch = [start(member=place), transition(state=State.RETRY, run="r", payload=b"next", member=place)]
        assert [outcome.group for outcome in record(backend, *batch)] == [None, None]
        assert list(backend.read_members("g")) == [None]

    @holds("R24")
    def test_retention_does_not_change_what_a_member_does(self) -> None:
        """A member whose record is gone at once has completed all the same."""
        backend = self.fresh()
        open_group(backend, 1)
        (outcome,) = record(backend, transition(payload=b"v", retention=0.0, member=Member("g", 0)))
        assert outcome.group == GroupProgress(size=1, done=1)
        assert list(backend.read_members("g")) == [b"v"]

    @holds("R25")
    def test_an_unknown_group_is_answered_with_none(self) -> None:
        """None for a group that is not known, the right answer for others; nothing is made of it."""
        backend = self.fresh()
        open_group(backend, 1)
        assert progress(backend, [done(0, group_id="unknown"), done(0)]) == [None, (1, 1, False)]
        assert [found and found.group_id for found in backend.read_groups(["unknown", "g", "no"])] == [None, "g", None]
        assert list(backend.read_members("unknown")) == []
        assert list(backend.read_groups(["unknown"])) == [None]

    @holds("R25")
    def test_a_member_of_an_unknown_group_ends_all_the_same(self) -> None:
        """A transition is granted, and its outcome says that its group is not known."""
        backend = self.fresh()
        (outcome,) = record(backend, transition(member=Member("unknown", 0)))
        assert (outcome.applied, outcome.group) == (True, None)
        assert read(backend) is not None

    @holds("R18", "R25")
    def test_groups_whose_names_look_alike_are_not_the_same(self) -> None:
        """A member is a group and an index, not a text made of both."""
        backend = self.fresh()
        names = [*HOSTILE_NAMES, "g", "g:1", "g/1", "g-1", "G"]
        for group_id in names:
            open_group(backend, 12, group_id)
        progress(backend, [done(1, group_id="g"), done(11, group_id="g")])
        assert [found and found.done for found in backend.read_groups(names)] == [2 * (name == "g") for name in names]
        for number, name in enumerate(names):
            progress(backend, [done(number % 10, b"%d" % number, name)] if name != "g" else [])
        for number, name in enumerate(names):
            members = [None] * (number % 10) + [b"%d" % number] + [None] * (11 - number % 10)
            assert name == "g" or list(backend.read_members(name)) == members, f"{name!r} has the members of another"


def _whole(backend: Backend, group_id: str = "g") -> bool:
    (found,) = backend.read_groups([group_id])
    return found is not None and found.done == found.size and None not in backend.read_members(group_id)


def _count(backend: Backend, group: GroupProgress | None) -> tuple[int, bool]:
    """How many members are complete, and whether that is right if it is all of them."""
    assert group is not None
    assert (group.size, group.failed) == (_SIZE, False)
    return group.done, not group.complete or _whole(backend)


def _complete_all(backend: Backend, seed: int) -> list[tuple[int, bool]]:
    order = [done(index, b"%d" % index) for index in random.Random(seed).sample(range(_SIZE), _SIZE)]
    return [_count(backend, backend.complete([each])[0]) for each in order]


def _record_some(backend: Backend, indexes: Iterable[int]) -> list[tuple[int, bool]]:
    batch = [transition(f"t{index}", payload=b"%d" % index, member=Member("g", index)) for index in indexes]
    return [_count(backend, record(backend, each)[0].group) for each in batch]


def _complete_some(backend: Backend, indexes: Iterable[int]) -> list[tuple[int, bool]]:
    return [_count(backend, backend.complete([done(index, b"%d" % index)])[0]) for index in indexes]


def _run_all(backend: Backend, number: int, _: LineUp) -> list[tuple[int, bool]]:
    mine = [index for index in range(_SIZE) if granted(backend, start(f"t{index}", run=f"r{number}"))[0]]
    ends = [
        transition(f"t{index}", run=f"r{number}", payload=b"%d" % index, member=Member("g", index)) for index in mine
    ]
    return [_count(backend, record(backend, each)[0].group) for each in ends]


def _assert_counts(answers: list[list[tuple[int, bool]]]) -> None:
    """Assert that a caller saw the end, none saw it too early, and no count is larger than the group."""
    counts = [count for mine in answers for count, _ in mine]
    assert max(counts) == _SIZE, f"the largest count is {max(counts)}, not {_SIZE}"
    assert all(right for mine in answers for _, right in mine), "reported as complete before all members were"
    for mine in answers:
        assert [count for count, _ in mine] == sorted(count for count, _ in mine), "the count went down"
