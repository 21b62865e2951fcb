"""What was sent and what ran, task by task."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import field, frozen

from drivetrain import current_task
from drivetrain.contract import Message, hookimpl

__all__ = ["RunLog", "TaskRun", "until"]

T = TypeVar("T")


@frozen
class TaskRun:
    """One run of a task."""

    label: str
    task_id: str
    attempt: int
    #: What it was given, Failures replaced.
    args: tuple[Any, ...] = field(repr=False)
    #: Unix seconds.
    at: float
    worker: str = field(repr=False)


class RunLog:
    """Counts sends and runs, for all apps of a harness. An observer. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._runs: list[TaskRun] = []
        self._messages: list[Message] = []

    @hookimpl
    def before_publish(self, messages: Sequence[Message]) -> None:
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        with self._changed:
            self._messages.extend(messages)

    def note(self, label: str, args: tuple[Any, ...]) -> int:
        """A task runs; how often this label has run before."""
        task = current_task()
        ran = TaskRun(label, task.task_id, task.attempt, args, time.time(), task.worker)
        with self._changed:
            before = sum(one.label == label for one in self._runs)
            self._runs.append(ran)
            self._changed.notify_all()
        return before

    def take_over(self, runs: Sequence[TaskRun]) -> None:
        """Add what ran in another process."""
        with self._changed:
            self._runs.extend(runs)

    @property
    def messages(self) -> list[Message]:
        """What was published so far."""
        with self._changed:
            return list(self._messages)

    @property
    def runs(self) -> list[TaskRun]:
        """What ran so far."""
        with self._changed:
            return list(self._runs)

    def of(self, label: str) -> list[TaskRun]:
        """The runs of a task."""
        return [ran for ran in self.runs if ran.label == label]

    def ran(self, prefix: str = "") -> Counter[str]:
        """How often each task has run whose label begins so."""
        return Counter(ran.label for ran in self.runs if ran.label.startswith(prefix))

    def attempts(self) -> Counter[tuple[str, int]]:
        """How often each attempt of each task has run, by task id."""
        return Counter((ran.task_id, ran.attempt) for ran in self.runs)

    def sends(self) -> Counter[str]:
        """How often a message of each task was published, by task id."""
        return Counter(message.id for message in self.messages)

    def wait_for(self, enough: Callable[[Counter[str]], bool], seconds: float) -> bool:
        """Wait until the numbers of runs satisfy ``enough``; whether they do."""
        with self._changed:
            return self._changed.wait_for(lambda: enough(Counter(ran.label for ran in self._runs)), seconds)


def until(condition: Callable[[], T], what: str, seconds: float) -> T:
    """Wait until ``condition()`` gives something true, and give it; for what tells nobody that it happens."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"within {seconds} s it did not happen: {what}"
        pause.wait(0.01)
    return found
