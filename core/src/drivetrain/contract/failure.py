"""What went wrong in a task, as a plain value: it crosses processes, so it holds no exception and no frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["Failure"]


@frozen(kw_only=True)
class Failure:
    """A task's final error. Error callbacks receive it as their first argument.

    It also stands in the place of a value in the results of a group that collects its members' failures.
    """

    #: The exception's type as ``module.QualName`` (``builtins.ValueError``).
    type: str
    #: ``str()`` of the exception.
    message: str
    #: The remote traceback, formatted; empty where no code of the task ran.
    traceback: str = field(default="", repr=False)
    #: The name of the task in which it happened.
    task: str
    #: The id of the task in which it happened; for a task that fails because of an earlier one, the earlier one's.
    task_id: str
    #: The attempt in which it happened; the first is 0.
    attempt: int = 0
    #: The arguments of that attempt as they stood in the message (plain values).
    args: tuple[Any, ...] = field(default=(), repr=False)
    #: The keyword arguments of that attempt as they stood in the message (plain values).
    kwargs: Mapping[str, Any] = field(factory=dict, repr=False)

    def describe(self, waited_for: str) -> str:
        """One message for whoever waited for the task ``waited_for``, traceback included."""
        where = f"task {self.task} ({self.task_id})"
        if waited_for != self.task_id:
            where = f"{where}, on which {waited_for} depends,"
        text = f"{where} failed in attempt {self.attempt}: {self.type}: {self.message}"
        return f"{text}\n\nRemote traceback:\n{self.traceback}" if self.traceback else text
