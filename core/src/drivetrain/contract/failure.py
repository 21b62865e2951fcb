"""A task's error as a plain value. It crosses processes, so it contains no exception and no frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["Failure"]


@frozen(kw_only=True)
class Failure:
    """The final error of a task. Error callbacks receive it as their first argument.

    A group that collects failures has it among its results, in place of the member's value.

    Attributes:
        type: the type of the exception as ``module.QualName``: ``builtins.ValueError``.
        message: ``str()`` of the exception.
        traceback: the formatted traceback of the worker; empty if no code of the task ran.
        task: the name of the task that failed.
        task_id: the id of the task that failed. A task that fails because of an earlier one has the id of the earlier
            one.
        attempt: the attempt that failed, 0 or more; the first is 0.
        args: the arguments of that attempt as they were in the message (plain values).
        kwargs: the keyword arguments of that attempt as they were in the message (plain values).
        dead_reason: why the message of the task goes to the dead letters; empty: it does not.
    """

    type: str
    message: str
    traceback: str = field(default="", repr=False)
    task: str
    task_id: str
    attempt: int = 0
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(factory=dict, repr=False)
    dead_reason: str = field(default="", repr=False)

    def describe(self, waited_for: str) -> str:
        """The text of the error for a caller that waits for the task ``waited_for``, traceback included."""
        where = f"task {self.task} ({self.task_id})"
        if waited_for != self.task_id:
            where = f"{where}, on which {waited_for} depends,"
        text = f"{where} failed in attempt {self.attempt}: {self.type}: {self.message}"
        return f"{text}\n\nRemote traceback:\n{self.traceback}" if self.traceback else text
