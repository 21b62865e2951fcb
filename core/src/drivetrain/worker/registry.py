"""The tasks that an app knows, and how each is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen

from drivetrain.contract import ConfigurationError, Plain, UnknownTask
from drivetrain.workflow.binding import Binding
from drivetrain.workflow.plan import Defaults
from drivetrain.workflow.values import Values

__all__ = ["Pool", "Registry", "TaskDefinition"]


class Pool(StrEnum):
    """Where a task is run."""

    #: In one of the worker's threads; for most tasks.
    THREADS = "threads"
    #: In one of the worker's child processes; for work that keeps a processor busy.
    PROCESSES = "processes"
    #: On the worker's event loop; for ``async def`` tasks.
    LOOP = "loop"


@frozen(kw_only=True, eq=False)
class TaskDefinition:
    """A registered task."""

    name: str
    function: Callable[..., Any]
    binding: Binding
    pool: Pool
    defaults: Defaults


class Registry(Mapping[str, TaskDefinition]):
    """Task definitions by name. Knows how to plan workflows of them (`drivetrain.workflow.plan.TaskBook`)."""

    def __init__(self, values: Values, fallback: Defaults) -> None:
        self.codec = values
        self._fallback = fallback
        self._definitions: dict[str, TaskDefinition] = {}

    def register(self, definition: TaskDefinition) -> None:
        """Add a task.

        Raises:
            ConfigurationError: another function is registered under this name.
        """
        known = self._definitions.get(definition.name)
        if known is not None and _place(known.function) != _place(definition.function):
            raise ConfigurationError(
                f"two tasks are named {definition.name!r}: {_place(known.function)} and "
                f"{_place(definition.function)}; give one of them another name=…"
            )
        self._definitions[definition.name] = definition

    def __getitem__(self, name: str) -> TaskDefinition:
        return self._definitions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def find(self, name: str) -> TaskDefinition:
        """The definition of this task; raises UnknownTask."""
        try:
            return self._definitions[name]
        except KeyError:
            raise UnknownTask(name, list(self._definitions)) from None

    def defaults(self, task: str) -> Defaults:
        """How this task is sent by default."""
        definition = self._definitions.get(task)
        return self._fallback if definition is None else definition.defaults

    def encode_call(
        self, task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, received: bool
    ) -> tuple[list[Plain], dict[str, Plain]]:
        """Check and encode arguments; those of a task that is not registered here are only encoded."""
        definition = self._definitions.get(task)
        if definition is not None:
            return definition.binding.encode_call(args, kwargs, received=received)
        encode = self.codec.encode
        return [encode(value) for value in args], {name: encode(value) for name, value in kwargs.items()}


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
