"""Records what an app sends, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from drivetrain.app.task import TaskBase
from drivetrain.contract import Message
from drivetrain.contract.hookspecs import hookimpl
from drivetrain.worker.functions import signature_of
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import due, workflow_of
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.wire import load_invocation

__all__ = ["SentTask", "SentTasks"]


@frozen(kw_only=True)
class SentTask:
    """A task that was sent.

    Attributes:
        task: its name.
        arguments: its arguments by the names of the parameters, as the function will get them. Defaults are left out.
            Of a task that is not registered here, arguments that were given by position are named ``0``, ``1``, ….
        task_id: its id.
        queue: its queue.
        priority: its priority.
        eta: when it is due; None: at once.
        headers: the headers with which it was sent.
        workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself.
    """

    task: str
    arguments: Mapping[str, Any]
    task_id: str
    queue: str
    priority: int
    eta: datetime | None
    headers: Mapping[str, str] = field(repr=False)
    workflow: str

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.task}({given})"


class SentTasks(Sequence[SentTask]):
    """What was sent, in order: by the test, and by tasks and workflows that have run since. Thread-safe.

    Each task is there once, however often it is retried.

    Args:
        runtime: gives the runtime of the app.
    """

    def __init__(self, runtime: Callable[[], Runtime]) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._sent: dict[str, SentTask] = {}

    def of(self, task: TaskBase[..., Any] | str) -> list[SentTask]:
        """Those of one task, given as the task or its name."""
        name = task if isinstance(task, str) else task.name
        return [one for one in self if one.task == name]

    def one(self, task: TaskBase[..., Any] | str) -> SentTask:
        """The only one of a task.

        Raises:
            AssertionError: it was not sent, or more than once; the message lists what was sent.
        """
        found = self.of(task)
        if len(found) != 1:
            name = task if isinstance(task, str) else task.name
            times = f"{len(found)} times" if found else "not"
            raise AssertionError(f"{name} was {times} sent, not once. {self}")
        return found[0]

    def clear(self) -> None:
        """Forget what was sent."""
        with self._lock:
            self._sent = {}

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[SentTask]:
        return iter(self._all())

    def _all(self) -> list[SentTask]:
        with self._lock:
            return list(self._sent.values())

    def __str__(self) -> str:
        lines = "".join(f"\n  {one}" for one in self)
        return f"Sent:{lines}" if lines else "Nothing was sent"

    __repr__ = __str__

    @hookimpl
    def after_publish(self, messages: Sequence[Message]) -> None:
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        sent = [_sent_task(self._runtime(), message) for message in messages if message.id not in self._sent]
        with self._lock:
            for one in sent:
                self._sent.setdefault(one.task_id, one)


def _sent_task(runtime: Runtime, message: Message) -> SentTask:
    invocation = load_invocation(runtime.payloads.load_body(message.headers.get(CONTENT_TYPE_HEADER), message.body))
    call, eta = invocation.call, due(message)
    return SentTask(
        task=call.task,
        arguments=_arguments(runtime, call.task, call.args, call.kwargs),
        task_id=call.id,
        queue=call.queue,
        priority=call.priority,
        eta=None if eta is None else datetime.fromtimestamp(eta, UTC),
        headers=dict(call.headers),
        workflow=workflow_of(message),
    )


def _arguments(runtime: Runtime, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    definition = runtime.registry.get(task)
    if definition is None:
        decode = runtime.registry.codec.decode
        positional = {str(index): decode(value) for index, value in enumerate(args)}
        return {**positional, **{name: decode(value) for name, value in kwargs.items()}}
    rich_args, rich_kwargs = definition.binding.decode_call(args, kwargs)
    return signature_of(definition.function).bind(*rich_args, **rich_kwargs).arguments
