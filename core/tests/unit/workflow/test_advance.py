"""`advance` against a recursive interpreter of the same workflow: same results, every task exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.contract import State
from drivetrain.workflow.advance import (
    Complete,
    Effect,
    End,
    Failed,
    Open,
    Publish,
    Resumed,
    Succeeded,
    advance,
    after,
    preceding,
)
from drivetrain.workflow.composition import chain, group
from drivetrain.workflow.frames import NOTHING, Call, Fork, Frames, Join, ids
from drivetrain.workflow.plan import Defaults, plan
from drivetrain.workflow.signature import Chain, Group, Signature, Workflow
from drivetrain.workflow.wire import dump_frames, load_frames

# The workflows: each task notes its own arguments in its result, so that a result tells how it came about.


@define
class Book:
    router = None

    def defaults(self, task: str) -> Defaults:
        return Defaults(queue="q")

    def encode_call(self, task: str, args: tuple, kwargs: dict, *, received: bool) -> tuple[list, dict]:
        return list(args), dict(kwargs)


def run(task: str, args: tuple) -> Any:
    if task == "fail":
        raise ArithmeticError
    return [task, *args]


def signatures() -> st.SearchStrategy[Signature]:
    return st.builds(
        Signature,
        task=st.sampled_from(["a", "b", "c", "fail"]),
        args=st.tuples(st.integers(0, 9)),
        immutable=st.booleans(),
        on_success=st.just(()) | st.just((Signature(task="then"),)),
        on_error=st.just(()) | st.just((Signature(task="caught"),)),
    )


def workflows() -> st.SearchStrategy[Workflow]:
    return st.recursive(
        signatures(),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=4).map(lambda parts: Chain(tuple(parts)))
            | st.builds(
                Group, st.lists(inner, max_size=4).map(tuple), on_member_failure=st.sampled_from(["fail", "collect"])
            )
        ),
        max_leaves=25,
    )


# The reference: ten lines that say what a workflow means.

FAILED = object()


def interpret(workflow: Workflow, value: Any, ran: Counter) -> Any:
    if isinstance(workflow, Signature):
        args = workflow.args if workflow.immutable or value is NOTHING else (value, *workflow.args)
        ran[workflow.task, repr(args)] += 1
        try:
            result = run(workflow.task, args)
        except ArithmeticError:
            ran.update((then.task, repr(("failure",))) for then in workflow.on_error)
            return FAILED
        ran.update((then.task, repr((result,))) for then in workflow.on_success)
        return result
    if isinstance(workflow, Chain):
        for index, part in enumerate(workflow.parts):
            value = interpret(part, value, ran)
            if value is FAILED:
                ran.update(own_error_callbacks(workflow.parts[index + 1 :]))
                return FAILED
        return value
    results = [interpret(member, value, ran) for member in workflow.members]
    if workflow.on_member_failure == "collect":
        return ["failure" if result is FAILED else result for result in results]
    return FAILED if FAILED in results else results


def own_error_callbacks(abandoned) -> Iterator[tuple[str, str]]:
    """What tasks that will never run, since one before them has failed, send all the same."""
    for workflow in abandoned:
        if isinstance(workflow, Signature):
            yield from ((then.task, repr(("failure",))) for then in workflow.on_error)
        else:
            yield from own_error_callbacks(workflow.parts if isinstance(workflow, Chain) else workflow.members)


# The machine: performs effects one at a time, in any order, some of them twice, as a crash would.


@define
class OpenGroup:
    size: int
    collect: bool
    continuation: Frames
    values: dict[int, Any] = field(factory=dict)
    failed: bool = False


@define
class Machine:
    draw: Any
    ran: Counter = field(factory=Counter)
    ended: dict[str, Any] = field(factory=dict)
    groups: dict[str, OpenGroup] = field(factory=dict)
    to_do: list[Effect] = field(factory=list)

    def go(self, frames: Frames) -> None:
        self.to_do = list(advance(frames, Resumed()))
        while self.to_do:
            self.perform(self.to_do.pop(0 if self.keep_order() else self.draw(st.integers(0, len(self.to_do) - 1))))

    def keep_order(self) -> bool:
        return any(isinstance(effect, Open) for effect in self.to_do)

    def then(self, effects: tuple[Effect, ...]) -> None:
        self.to_do += effects * (2 if self.draw(st.booleans()) else 1)

    def end(self, task_id: str, outcome: Any) -> None:
        self.ended.setdefault(task_id, outcome)

    def perform(self, effect: Effect) -> None:
        if isinstance(effect, Publish):
            self.run_task(effect)
        elif isinstance(effect, Open):
            self.groups.setdefault(effect.group_id, OpenGroup(effect.size, effect.collect, effect.continuation))
        elif isinstance(effect, End):
            self.end(effect.task_id, FAILED if effect.failure else [])
        else:
            self.complete(effect)

    def run_task(self, effect: Publish) -> None:
        call, frames = effect.invocation.call, effect.invocation.frames
        if call.id in self.ended:
            return
        self.ran[call.task, repr(call.args)] += 1
        try:
            value = run(call.task, call.args)
        except ArithmeticError:
            self.end(call.id, FAILED)
            self.then(advance(frames, Failed("failure", call)))
        else:
            self.end(call.id, value)
            self.then(advance(frames, Succeeded(call, value)))

    def complete(self, effect: Complete) -> None:
        group = self.groups[effect.member.group_id]
        if effect.failure and not group.collect:
            group.failed = True
        group.values.setdefault(effect.member.index, effect.failure or effect.value)
        if group.failed:
            self.end(effect.member.group_id, FAILED)
            self.then(advance(group.continuation, Failed("failure")))
        elif len(group.values) == group.size:
            results = [group.values[index] for index in range(group.size)]
            self.end(effect.member.group_id, results)
            self.then(advance(group.continuation, Resumed(results)))


def planned(workflow: Workflow) -> Frames:
    numbers = iter(range(10**6))
    return plan(workflow, Book(), lambda: f"id{next(numbers)}")


def result_id(frames: Frames) -> str:
    last = frames[-1]
    assert isinstance(last, Call | Fork)
    return last.id if isinstance(last, Call) else last.group_id


@settings(max_examples=300)
@given(workflows(), st.data())
def test_a_workflow_gives_what_the_interpreter_gives_and_runs_every_task_once(workflow, data):
    frames = planned(workflow)
    machine = Machine(data.draw)
    machine.go(frames)
    ran: Counter = Counter()
    expected = interpret(workflow, NOTHING, ran)
    assert machine.ended[result_id(frames)] == expected
    assert machine.ran == ran


@settings(max_examples=200)
@given(workflows(), st.data())
def test_every_handle_of_a_workflow_ends(workflow, data):
    """Whatever fails on the way, nobody waits for ever: each task and group of the workflow has an end."""
    frames = planned(workflow)
    machine = Machine(data.draw)
    machine.go(frames)
    assert set(ids(frames)) <= set(machine.ended)


@given(workflows())
def test_frames_travel_unchanged(workflow):
    frames = planned(workflow)
    assert load_frames(dump_frames(frames)) == frames


def test_the_same_event_always_gives_the_same_effects():
    frames = planned(chain(Signature(task="a"), group(Signature(task="b"), Signature(task="c")), Signature(task="a")))
    assert advance(frames, Resumed(1)) == advance(frames, Resumed(1))


def test_a_groups_messages_stay_small_whatever_follows_it():
    members = [Signature(task="a", args=(number,)) for number in range(100)]
    big = Signature(task="b", args=("x" * 10_000,))
    effects = advance(planned(chain(group(members), big)), Resumed())
    published = [effect for effect in effects if isinstance(effect, Publish)]
    assert len(published) == 100
    assert max(len(repr(effect)) for effect in published) < 1_000


def test_what_waits_for_a_task_in_a_branch_is_the_rest_of_its_branch_its_group_and_all_after_it():
    frames = planned(
        chain(Signature(task="a"), group(chain(Signature(task="b"), Signature(task="c"))), Signature(task="d"))
    )
    first, fork, last = frames
    assert isinstance(fork, Fork)
    inner_first, inner_second = fork.branches[0]
    waiting = after(frames, inner_first.id)
    assert waiting is not None
    assert list(ids(waiting)) == [inner_second.id, fork.group_id, last.id]
    assert list(ids(after(frames, first.id) or ())) == [fork.group_id, inner_first.id, inner_second.id, last.id]
    assert after(frames, "unknown") is None


def test_a_cancelled_task_sends_no_error_callbacks_and_ends_what_waits_for_it():
    call = Call(id="x", task="a", queue="q", on_error=((Call(id="e", task="caught", queue="q"),),))
    follower = Call(id="y", task="b", queue="q")
    effects = advance((follower,), Failed("failure", call, State.CANCELLED))
    assert effects == (End("y", State.CANCELLED, "failure"),)


# Groups within groups: the outer join that members carry, for the case that the group itself is lost


def member_joins(workflow: Workflow, value: Any = NOTHING) -> dict[str, Join]:
    """By the name of the task: where the value of each first task of a member goes."""
    published = [effect for effect in advance(planned(workflow), Resumed(value)) if isinstance(effect, Publish)]
    return {
        one.invocation.call.task: frame
        for one in published
        for frame in one.invocation.frames
        if isinstance(frame, Join)
    }


def test_members_of_a_group_that_is_in_none_carry_nothing_more():
    joins = member_joins(chain(group(Signature(task="a"), Signature(task="b")), Signature(task="c")))
    assert [(join.index, join.outer, join.then) for join in joins.values()] == [(0, None, ""), (1, None, "")]


def test_members_of_a_group_in_a_group_know_the_places_around_it_and_what_comes_between():
    inner = chain(group(Signature(task="a"), Signature(task="b")), Signature(task="c"), Signature(task="d"))
    frames = planned(group(group(inner, Signature(task="x")), Signature(task="y")))
    (outermost,) = frames
    assert isinstance(outermost, Fork)
    ((middle,), _) = outermost.branches
    assert isinstance(middle, Fork)
    (innermost, between, _), _ = middle.branches
    assert isinstance(innermost, Fork)
    assert isinstance(between, Call)
    around = Join(middle.group_id, 0, outer=Join(outermost.group_id, 0))
    published = [effect.invocation for effect in advance(frames, Resumed()) if isinstance(effect, Publish)]
    assert {one.call.task: one.frames for one in published} == {
        "a": (Join(innermost.group_id, 0, outer=around, then=between.id),),
        "b": (Join(innermost.group_id, 1, outer=around, then=between.id),),
        "x": (Join(middle.group_id, 1, outer=Join(outermost.group_id, 0)),),
        "y": (Join(outermost.group_id, 1),),
    }


def test_a_group_that_is_opened_later_tells_its_members_the_same():
    frames = planned(group(chain(Signature(task="first"), group(Signature(task="a"), Signature(task="b")))))
    (outer,) = frames
    assert isinstance(outer, Fork)
    first = next(effect.invocation for effect in advance(frames, Resumed()) if isinstance(effect, Publish))
    effects = advance(first.frames, Succeeded(first.call, 1))
    joins = [effect.invocation.frames[0] for effect in effects if isinstance(effect, Publish)]
    assert [join.outer for join in joins if isinstance(join, Join)] == [Join(outer.group_id, 0)] * 2


def test_what_members_carry_grows_with_the_depth_and_not_with_the_width():
    wide = member_joins(group(group([Signature(task=f"t{number}") for number in range(500)]), Signature(task="y")))
    narrow = member_joins(group(group(Signature(task="t499")), Signature(task="y")))
    assert len(repr(wide["t499"])) <= len(repr(narrow["t499"])) + len("499")


def test_a_lost_group_fails_its_place_in_the_next_group_around_it():
    around = Join("middle", 3, outer=Join("outer", 1), then="between")
    place = Join("inner", 0, outer=around, then="c")
    (complete,) = advance((place,), Succeeded(Call(id="x", task="a", queue="q"), 1))
    assert isinstance(complete, Complete)
    (outward,) = complete.outward("lost")
    assert outward == Complete(around, None, "lost", State.FAILURE)
    (outermost,) = outward.outward("lost")
    assert outermost == Complete(Join("outer", 1), None, "lost", State.FAILURE)
    assert outermost.outward("lost") == ()


@given(workflows())
def test_each_task_but_the_first_has_one_that_precedes_it_and_is_after_that(workflow):
    frames = planned(workflow)
    found = preceding(frames, "sent")
    assert list(found) == list(ids(frames))
    for task_id, earlier in found.items():
        behind = frames if earlier == "sent" else after(frames, earlier)
        assert behind is not None
        # A member of a group is in it, what follows a task or a group is after it.
        assert task_id in {*ids(behind), *members_of(frames, earlier)}


def members_of(frames: Frames, group_id: str) -> list[str]:
    for frame in frames:
        if isinstance(frame, Fork):
            if frame.group_id == group_id:
                return [task_id for branch in frame.branches for task_id in ids(branch)]
            for branch in frame.branches:
                if found := members_of(branch, group_id):
                    return found
    return []


def test_what_precedes_is_the_last_that_must_have_ended_or_been_opened():
    inner = chain(group(Signature(task="b"), Signature(task="c")), Signature(task="d"))
    frames = planned(chain(Signature(task="a"), group(inner, Signature(task="e")), Signature(task="f")))
    first, outer, last = frames
    assert isinstance(outer, Fork)
    (fork, between), (other,) = outer.branches
    assert isinstance(fork, Fork)
    assert preceding(frames) == {
        first.id: "",
        outer.group_id: first.id,
        fork.group_id: outer.group_id,
        fork.branches[0][0].id: fork.group_id,
        fork.branches[1][0].id: fork.group_id,
        between.id: fork.group_id,
        other.id: outer.group_id,
        last.id: outer.group_id,
    }
