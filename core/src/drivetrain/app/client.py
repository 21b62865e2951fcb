"""The client of an app: sends workflows, and gives handles to their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, overload

from attrs import frozen

from drivetrain.app.blocking import warn_if_loop_runs
from drivetrain.app.result import GroupResult, Result
from drivetrain.app.services import Services
from drivetrain.worker.registry import Registry, TaskDefinition
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Call, Fork, Frames, ids
from drivetrain.workflow.signature import Group, Workflow

__all__ = ["Client", "PreparedSend"]

R = TypeVar("R")
T = TypeVar("T")


@frozen(eq=False)
class PreparedSend(Generic[R]):
    """A workflow whose arguments are checked and whose ids are known, and which has not been sent.

    Attributes:
        result: the handle to its result. If it is a unique task that is there already, nobody knows this id.
    """

    result: Result[R]
    _send: Callable[[], object]

    def send(self) -> None:
        """Send it; a repetition changes nothing. Raises what ``app.send`` raises."""
        self._send()


class Client:
    """Sends workflows and gives handles to their results; see the methods of the same names of `App`. Thread-safe."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry

    @property
    def runtime(self) -> Runtime:
        """The drivers of the app, in this process."""
        return self._services.runtime

    def definition(self, task: str, /) -> TaskDefinition:
        """The definition of a task."""
        return self._registry[task]

    @overload
    def send(self, workflow: Group[T], /) -> GroupResult[T]: ...
    @overload
    def send(self, workflow: Workflow[R], /) -> Result[R]: ...
    def send(self, workflow: Workflow[Any], /) -> Result[Any]:
        """Send one workflow."""
        return self.send_many([workflow])[0]

    def send_many(self, workflows: Iterable[Workflow[Any]]) -> list[Result[Any]]:
        """Send many workflows in one batch."""
        warn_if_loop_runs("send()", "await send_async()")
        return [self._handle(frames) for frames in self._services.sender.send(list(workflows))]

    async def send_async(self, workflow: Workflow[R], /) -> Result[R]:
        """Send one workflow, without blocking the event loop."""
        import asyncio  # seven megabytes; an application without coroutines does not need them

        result: Result[R]
        submitted = None
        if self._services.are_made:  # to make them imports drivers
            submitted = self._services.sender.submit(workflow, asyncio.get_running_loop())
        if submitted is None:
            result = await asyncio.to_thread(self.send, workflow)
            return result
        frames, published = submitted
        answers = await published
        if answers is None or not all(answers):
            await asyncio.to_thread(self._services.sender.repeat, frames)
        result = self._handle(frames)
        return result

    async def send_many_async(self, workflows: Iterable[Workflow[Any]]) -> list[Result[Any]]:
        """Send many workflows in one batch, in a thread."""
        import asyncio

        return await asyncio.to_thread(self.send_many, workflows)

    def prepare(self, workflow: Workflow[R], /) -> PreparedSend[R]:
        """Plan a workflow, to be sent later."""
        frames, made = self._services.sender.plan([workflow])
        return PreparedSend(self._handle(frames[0]), partial(self._services.sender.send_frames, frames, made))

    def result(self, task_id: str, /) -> Result[Any]:
        """The handle to a task or a group that was sent before."""
        return Result(self._services, task_id)

    def cancel(self, *task_ids: str) -> bool:
        """Cancel tasks that have not ended, and all that depends on them."""
        return self._services.sender.cancel(task_ids)

    def _handle(self, frames: Frames, *, with_parts: bool = True) -> Result[Any]:
        last: Any = frames[-1]
        parts = tuple(ids(frames)) if with_parts else ()
        if isinstance(last, Fork):
            members = [self._handle(branch, with_parts=False) for branch in last.branches]
            return GroupResult(self._services, last.group_id, members, parts)
        call: Call = last
        return Result(self._services, call.id, (), parts, task=call.task)
