"""Workflows and values are nested to a limit, and whatever is nested deeper is refused by an error that says so."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import pytest

from drivetrain import App, Failure, QueueSection, TaskFailed, group
from drivetrain.contract import InvalidSignature, SerializationError, evolve
from drivetrain.workflow.composition import chain, chord
from drivetrain.workflow.frames import Call, Fork, Invocation, Join
from drivetrain.workflow.nesting import DEEPEST, is_too_deep
from drivetrain.workflow.plan import Defaults, plan
from drivetrain.workflow.signature import Signature
from drivetrain.workflow.values import ValueMismatch, Values
from drivetrain.workflow.wire import dump_frames, dump_invocation, load_invocation, skeleton

VALUES = Values()
WAIT = 20


class Book:
    router = None

    def defaults(self, task):
        return Defaults(queue="q")

    def encode_call(self, task, args, kwargs, *, received):
        return list(args), dict(kwargs)


def sig(name="t"):
    return Signature(task=name)


def grouped(workflow):
    return group([workflow])


def in_a_chord(workflow):
    return chord([workflow], sig())


def called(workflow):
    return sig().set(on_success=[workflow])


def called_on_error(workflow):
    return chain(sig()).set(on_error=[workflow])


def chained(workflow):
    return chain(workflow, sig()).set(on_error=[sig("report")])


WAYS = [grouped, in_a_chord, called, called_on_error, chained]


def nested(levels, *ways):
    workflow = sig()
    for way in itertools.islice(itertools.cycle(ways), levels):
        workflow = way(workflow)
    return workflow


def planned(workflow):
    numbers = itertools.count()
    return plan(workflow, Book(), lambda: f"id{next(numbers)}")


# Chains with callbacks of their own are the fifth way; each task in them has all callbacks around it.
@pytest.mark.parametrize("ways", [*((way,) for way in WAYS[:4]), tuple(WAYS[:4])])
def test_the_deepest_workflow_is_planned_and_travels(ways):
    frames = planned(nested(DEEPEST, *ways))
    assert not is_too_deep(frames)
    for plain in (dump_frames(frames), skeleton(frames)):
        json.dumps(plain)
    call = Call(id="first", task="t", queue="q")
    invocation = Invocation(call=call, frames=frames)
    assert load_invocation(json.loads(json.dumps(dump_invocation(invocation)))) == invocation


@pytest.mark.parametrize("levels", [DEEPEST + 1, 5000])
@pytest.mark.parametrize("ways", [*((way,) for way in WAYS), tuple(WAYS)])
def test_a_deeper_workflow_is_refused_by_its_sender(ways, levels):
    workflow = nested(levels, *ways)
    with pytest.raises(InvalidSignature, match=f"can be nested {DEEPEST} levels deep"):
        planned(workflow)
    with pytest.raises(InvalidSignature, match="belongs to an app"):
        workflow.send()


def test_chains_within_chains_are_levels_too():
    planned(nested(DEEPEST, chained))


def fork(levels):
    frame = Call(id="c", task="t", queue="q")
    for level in range(levels):
        frame = Fork(f"g{level}", ((frame,),))
    return frame


def join(levels):
    outer = None
    for level in range(levels):
        outer = Join(f"g{level}", 0, outer=outer)
    return outer


def callback(levels):
    call = Call(id="c", task="t", queue="q")
    for level in range(levels):
        call = Call(id=f"c{level}", task="t", queue="q", on_error=((call,),))
    return call


@pytest.mark.parametrize("make", [fork, callback, lambda levels: join(levels + 1)])
def test_a_message_that_is_nested_deeper_is_refused_by_its_reader(make):
    def read(levels):
        invocation = Invocation(call=Call(id="first", task="t", queue="q"), frames=(make(levels),))
        return load_invocation(dump_invocation(invocation))

    read(DEEPEST)
    with pytest.raises(SerializationError, match="nested more than"):
        read(DEEPEST + 1)


def test_such_a_message_goes_to_the_dead_letters():
    with App("memory://") as app:
        app.task(name="act")(lambda: None)
        invocation = Invocation(call=Call(id="a", task="act", queue="default"), frames=(fork(DEEPEST + 1),))
        sent = app.task(name="later")(lambda: None).send()
        (message,) = app.runtime.broker.peek("default", QueueSection.READY, limit=1)
        body = app.runtime.payloads.dump_body(dump_invocation(invocation))
        app.runtime.broker.publish([evolve(message, id="a", body=body)])
        with app.worker():
            sent.get(WAIT)
            waited = app.result("a")
            with pytest.raises(TaskFailed, match="nested more than"):
                waited.get(WAIT)
        (letter,) = app.operations.dead_letters("default")
        assert "nested more than" in letter.reason


# Values


@dataclasses.dataclass
class Tree:
    children: list[Tree]


def a_list(inner):
    return [inner]


def a_tuple(inner):
    return (inner,)


def a_dict(inner):
    return {"held": inner}


def pairs(inner):
    return {1: inner}


def value(levels, *makers):
    made: Any = "innermost"
    for make in itertools.islice(itertools.cycle(makers), levels):
        made = make(made)
    return made


@pytest.mark.parametrize("makers", [(a_list,), (a_tuple,), (a_dict,), (pairs,), (a_list, a_tuple, a_dict, pairs)])
def test_values_are_nested_to_the_same_limit(makers):
    deepest = value(DEEPEST, *makers)
    assert VALUES.decode(json.loads(json.dumps(VALUES.encode(deepest)))) == deepest
    for levels in (DEEPEST + 1, 5000):
        with pytest.raises(ValueMismatch, match=f"nested less deeply \\({DEEPEST} levels at most\\)"):
            VALUES.encode(value(levels, *makers))


def test_classes_and_their_lists_are_levels():
    def tree(levels):
        made = Tree([])
        for _ in range(levels):
            made = Tree([made])
        return made

    deepest = tree(DEEPEST // 2 - 1)
    assert VALUES.decode(VALUES.encode(deepest, Tree), Tree) == deepest
    with pytest.raises(ValueMismatch, match="nested less deeply"):
        VALUES.encode(tree(DEEPEST // 2), Tree)


def test_a_failure_travels_whatever_its_arguments_are():
    failure = Failure(type="builtins.ValueError", message="no", task="t", task_id="a", args=(1,), kwargs={"x": 2})
    assert VALUES.decode(VALUES.encode(failure)) == failure
    for levels in (DEEPEST, 5000):
        deep = evolve(failure, args=(value(levels, a_list),))
        assert VALUES.decode(VALUES.encode(deep)) == evolve(failure, args=(), kwargs={})
        assert VALUES.decode(VALUES.encode(deep, Failure), Failure) == evolve(failure, args=(), kwargs={})
    with pytest.raises(ValueMismatch):
        VALUES.encode(1, Failure)
