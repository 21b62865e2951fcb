"""Planning: turns signatures into frames, with encoded arguments, options and ids. Pure except for new ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from attrs import frozen

from drivetrain.contract import InvalidSignature, Plain, Retries
from drivetrain.workflow.frames import Call, Fork, Frame, Frames, ids
from drivetrain.workflow.nesting import DEEPEST
from drivetrain.workflow.options import NO_OPTIONS
from drivetrain.workflow.signature import Chain, Group, Signature, Workflow

__all__ = ["Defaults", "Router", "TaskCatalog", "plan"]

#: Chooses the queue of a call from the name of its task and its arguments; None: the queue of the task.
Router = Callable[[str, tuple[Any, ...], Mapping[str, Any]], str | None]


@frozen(kw_only=True)
class Defaults:
    """The options of a task that its signature does not set."""

    queue: str
    priority: int = 0
    retries: Retries | None = None
    timeout: float | None = None
    soft_timeout: float | None = None
    retention: float | None = None
    dead_letter: bool = False


class TaskCatalog(Protocol):
    """The registered tasks, as far as planning needs them."""

    @property
    def router(self) -> Router | None:
        """Chooses the queue of a call that does not name one; None: each task has its own."""
        ...

    def defaults(self, task: str) -> Defaults:
        """The default options of this task."""
        ...

    def encode_call(
        self, task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, received: bool
    ) -> tuple[list[Plain], dict[str, Plain]]:
        """Check and encode arguments; ``received`` if the previous result will come before them."""
        ...


def plan(workflow: Workflow[Any], catalog: TaskCatalog, new_id: Callable[[], str]) -> Frames:
    """The frames of ``workflow``.

    Raises:
        InvalidArguments: arguments do not fit their task.
        InvalidSignature: an id is used twice, or it is nested too deeply.
    """
    frames = _Planner(catalog, new_id).frames(workflow, received=False, around=(), level=0)
    if not isinstance(workflow, Signature):
        _check_unique(frames)
    return frames


def _check_unique(frames: Frames) -> None:
    twice = [task_id for task_id, count in Counter(ids(frames)).items() if count > 1]
    if twice:
        raise InvalidSignature(f"the id {twice[0]!r} is used more than once in this workflow; leave task_id out of one")


class _Planner:
    def __init__(self, catalog: TaskCatalog, new_id: Callable[[], str]) -> None:
        self._catalog = catalog
        self._router = catalog.router
        self._new_id = new_id

    def frames(
        self, workflow: Workflow[Any], *, received: bool, around: tuple[Workflow[Any], ...], level: int
    ) -> Frames:
        """The frames of a workflow.

        Args:
            workflow: the workflow.
            received: whether it takes the result of what comes before it.
            around: the error callbacks of the chains and groups around it.
            level: how many groups, callbacks and chains are around it.
        """
        if level > DEEPEST:
            raise InvalidSignature(
                f"a workflow can be nested {DEEPEST} levels deep, and this one is nested deeper; "
                "let one of its tasks send the rest"
            )
        if isinstance(workflow, Signature):
            return (self._call(workflow, received, around, level),)
        if isinstance(workflow, Chain):
            return self._chain(workflow, received, around, level)
        if isinstance(workflow, Group):
            return (self._fork(workflow, received, around, level),)
        raise InvalidSignature(f"{workflow!r} is not a signature, chain or group")

    def _chain(self, chain: Chain[Any], received: bool, around: tuple[Workflow[Any], ...], level: int) -> Frames:
        around = (*around, *chain.on_error)
        frames: list[Frame] = []
        for part in chain.parts:
            here = level + isinstance(part, Chain)
            frames.extend(self.frames(part, received=received or bool(frames), around=around, level=here))
        return tuple(frames)

    def _fork(self, group: Group[Any], received: bool, around: tuple[Workflow[Any], ...], level: int) -> Fork:
        plan_member = partial(self.frames, received=received, around=(*around, *group.on_error), level=level + 1)
        return Fork(
            group.group_id or self._new_id(),
            tuple(map(plan_member, group.members)),
            group.on_member_failure == "collect",
        )

    def _callbacks(self, workflows: Iterable[Workflow[Any]], level: int) -> tuple[Frames, ...]:
        return tuple(map(partial(self.frames, received=True, around=(), level=level + 1), workflows))

    def _call(self, signature: Signature[Any], received: bool, around: tuple[Workflow[Any], ...], level: int) -> Call:
        options = signature.options
        defaults = self._catalog.defaults(signature.task)
        args, kwargs = self._catalog.encode_call(
            signature.task, signature.args, signature.kwargs, received=received and not signature.immutable
        )
        queue = defaults.queue
        if self._router is not None and options.queue is None:
            queue = self._router(signature.task, signature.args, signature.kwargs) or queue
        # Planned again for each task, so that each failing task sends callbacks with new ids.
        workflow_on_error = self._callbacks(around, level) if around else ()
        if options is NO_OPTIONS and not (
            signature.on_success or signature.on_error
        ):  # most signatures have no options
            return Call(
                id=self._new_id(),
                task=signature.task,
                args=tuple(args),
                kwargs=kwargs,
                immutable=signature.immutable,
                queue=queue,
                priority=defaults.priority,
                retries=defaults.retries,
                timeout=defaults.timeout,
                soft_timeout=defaults.soft_timeout,
                retention=defaults.retention,
                dead_letter=defaults.dead_letter,
                workflow_on_error=workflow_on_error,
            )
        expires = options.expires
        return Call(
            id=options.task_id or self._new_id(),
            task=signature.task,
            args=tuple(args),
            kwargs=kwargs,
            immutable=signature.immutable,
            queue=_or(options.queue, queue),
            priority=_or(options.priority, defaults.priority),
            headers=options.headers,
            eta=None if options.eta is None else options.eta.timestamp(),
            delay=options.delay,
            expires_at=expires.timestamp() if isinstance(expires, datetime) else None,
            expires_after=None if isinstance(expires, datetime) else expires,
            retries=_or(options.retry, defaults.retries),
            timeout=_or(options.timeout, defaults.timeout),
            soft_timeout=_or(options.soft_timeout, defaults.soft_timeout),
            retention=_or(options.retention, defaults.retention),
            message_group=options.message_group,
            dead_letter=_or(options.dead_letter, defaults.dead_letter),
            ignore_unknown=options.ignore_unknown,
            on_success=self._callbacks(signature.on_success, level),
            on_error=self._callbacks(signature.on_error, level),
            workflow_on_error=workflow_on_error,
        )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
