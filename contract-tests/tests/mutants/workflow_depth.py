"""Senders, workers and serializers that break W26 and W27: what is nested deep is refused, and what is deeper sent."""

from __future__ import annotations

import threading

from drivetrain.contract import SerializationError
from drivetrain.drivers.json import JsonSerializer
from drivetrain.workflow import nesting, wire
from drivetrain.workflow import plan as planning
from drivetrain.workflow.binding import Binding
from drivetrain.workflow.values import converter, depth, failures
from mutants.workflow_base import breaks_core

_Planner = planning._Planner


def reads_no_deeper(patch, levels):
    """Let the serializer refuse what is nested deeper, as some do; its own envelope counts too."""
    loads = JsonSerializer.loads

    def load(self, data):
        value = loads(self, data)
        level = [value]
        for _ in range(levels + 1):
            level = [
                item
                for each in level
                if isinstance(each, list | dict)
                for item in (each.values() if isinstance(each, dict) else each)
            ]
        if level:
            raise SerializationError(f"this is nested deeper than {levels} levels")
        return value

    patch.setattr(JsonSerializer, "loads", load)


# W26: how deep workflows may be


@breaks_core("W26", "refuses a workflow of 100 levels")
def refuses_the_deepest(patch):
    patch.setattr(planning, "DEEPEST", 99)


@breaks_core("W26", "sends a workflow of 101 levels")
def sends_what_is_too_deep(patch):
    patch.setattr(planning, "DEEPEST", 101)


@breaks_core("W26", "runs what is nested deeper too")
def runs_everything(patch):
    patch.setattr(planning, "DEEPEST", 150)
    patch.setattr(wire, "is_too_deep", lambda _frames: False)


@breaks_core("W26", "counts no callbacks")
def counts_no_callbacks(patch):
    callbacks = _Planner._callbacks
    patch.setattr(_Planner, "_callbacks", lambda self, workflows, _level: callbacks(self, workflows, 0))


@breaks_core("W26", "counts groups only where they stand in no other one")
def counts_no_groups(patch):
    fork = _Planner._fork
    patch.setattr(
        _Planner, "_fork", lambda self, group, received, around, level: fork(self, group, received, around, level - 1)
    )


@breaks_core("W26", "puts aside a message of 100 levels")
def reads_less_than_is_sent(patch):
    def is_too_deep(frames):
        level = list(frames)
        for _ in range(nesting.DEEPEST):
            level = [inner for frame in level for inner in nesting._inside(frame)]
        return bool(level)

    patch.setattr(wire, "is_too_deep", is_too_deep)


@breaks_core("W26", "reads no message that is nested deeper than 128 levels, its own envelope included")
def reads_few_levels(patch):
    reads_no_deeper(patch, 128)


# W27: how deep values may be


@breaks_core("W27", "refuses a value of 100 levels")
def refuses_the_deepest_value(patch):
    patch.setattr(depth, "DEEPEST", 99)


@breaks_core("W27", "takes a value of 101 levels")
def takes_what_is_too_deep(patch):
    patch.setattr(depth, "DEEPEST", 101)


@breaks_core("W27", "refuses no value")
def takes_everything(patch):
    patch.setattr(converter, "is_nested_too_deep", lambda _plain: False)


@breaks_core("W27", "looks at arguments, and not at results")
def looks_at_no_results(patch):
    encode, here = Binding.encode_result, threading.local()

    def encode_result(self, value):
        here.off = True
        try:
            return encode(self, value)
        finally:
            here.off = False

    real = converter.is_nested_too_deep
    patch.setattr(converter, "is_nested_too_deep", lambda plain: not getattr(here, "off", False) and real(plain))
    patch.setattr(Binding, "encode_result", encode_result)


@breaks_core("W27", "looks at results, and not at arguments")
def looks_at_no_arguments(patch):
    encode, here = Binding.encode_result, threading.local()

    def encode_result(self, value):
        here.on = True
        try:
            return encode(self, value)
        finally:
            here.on = False

    real = converter.is_nested_too_deep
    patch.setattr(converter, "is_nested_too_deep", lambda plain: getattr(here, "on", False) and real(plain))
    patch.setattr(Binding, "encode_result", encode_result)


@breaks_core("W27", "cannot tell of a failure whose arguments are nested deep")
def cannot_tell_of_failures(patch):
    patch.setattr(failures, "is_nested_too_deep", lambda _plain: False)


@breaks_core("W27", "counts lists, and not dicts")
def counts_lists(patch):
    containers = depth._containers_in
    patch.setattr(depth, "_containers_in", lambda one: containers(one) if isinstance(one, list) else ())


@breaks_core("W27", "counts dicts, and not lists")
def counts_dicts(patch):
    containers = depth._containers_in
    patch.setattr(depth, "_containers_in", lambda one: containers(one) if isinstance(one, dict) else ())


@breaks_core("W27", "reads 100 levels, those of its own envelope included")
def reads_few_levels_of_values(patch):
    reads_no_deeper(patch, 100)
