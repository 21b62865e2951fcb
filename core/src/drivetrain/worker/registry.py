"""The tasks that an app knows, and how each is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import evolve, frozen

from drivetrain.contract import ConfigurationError, Plain, UnknownTask
from drivetrain.worker.batches.spec import Batch
from drivetrain.worker.chunks import ChunkBinding, chunk_function, chunk_name
from drivetrain.worker.limits.bound import BoundUnique, TaskLimits
from drivetrain.worker.limits.keys import CallKey
from drivetrain.worker.limits.specs import Concurrency, Rate
from drivetrain.worker.origins import Origin
from drivetrain.workflow.binding import Binding
from drivetrain.workflow.plan import Defaults, Router
from drivetrain.workflow.values import Values

__all__ = ["Pool", "Registry", "TaskDefinition", "chunked"]


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
    #: What limits its runs; None: nothing.
    limits: TaskLimits | None = None
    #: How it is unique; None: it is not.
    unique: BoundUnique | None = None
    #: What makes its fair keys; None: its tasks have none.
    fair_by: CallKey | None = None
    #: How its tasks are put together; None: each runs by itself.
    batch: Batch | None = None
    #: Other names under which messages may name it.
    aliases: tuple[str, ...] = ()
    #: A module that a child process imports before that of the task: it sets up the app, or includes the blueprint of
    #: the task in it. Empty: there is none.
    included_by: str = ""


def chunked(definition: TaskDefinition) -> TaskDefinition:
    """The task that runs the calls of one chunk; see `drivetrain.worker.chunks`."""
    restrictions = (definition.limits, definition.unique, definition.fair_by, definition.batch)
    return evolve(
        definition,
        name=chunk_name(definition.name),
        function=chunk_function(definition.function),
        binding=ChunkBinding(definition.binding, refused=any(one is not None for one in restrictions)),
        limits=None,
        unique=None,
        fair_by=None,
        batch=None,
        aliases=(),
    )


class Registry(Mapping[str, TaskDefinition]):
    """Task definitions by name, and by alias when looked up. Knows how to plan workflows of them.

    See `drivetrain.workflow.plan.TaskCatalog`. Iterating gives names only, no aliases.
    """

    def __init__(self, values: Values, fallback: Defaults, router: Router | None = None) -> None:
        self.codec = values
        #: See `drivetrain.workflow.plan.TaskCatalog`.
        self.router = router
        self._fallback = fallback
        self._definitions: dict[str, TaskDefinition] = {}
        self._origins: dict[str, Origin] = {}
        #: Whether any task has limits.
        self.limited = False
        #: Whether any task is unique.
        self.unique = False
        #: Whether any task has fair keys.
        self.fair = False
        #: Whether any task is batched.
        self.batched = False
        #: The same by every name and alias.
        self._by_any_name: dict[str, TaskDefinition] = {}

    def register(self, definition: TaskDefinition) -> None:
        """Add a task. A function that was defined again takes its own place; see `Origin.replaces`.

        Raises:
            ConfigurationError: another function is registered under this name.
        """
        origin, known = Origin.of(definition.function), self._origins.get(definition.name)
        if known is not None and not origin.replaces(known):
            raise ConfigurationError(
                f"two tasks are named {definition.name!r}: {known} and {origin}; "
                "give one of them another name: @app.task(name=…)"
            )
        names = (definition.name, *definition.aliases)
        for name in names:
            other = self._by_any_name.get(name)
            if other is not None and other.name != definition.name:
                raise ConfigurationError(
                    f"task {definition.name!r} cannot be known as {name!r}, which is a name or an alias of task "
                    f"{other.name!r}; remove the alias, or give one of them another name=…"
                )
        if known is not None:  # it may have had other aliases
            for name in self._definitions[definition.name].aliases:
                del self._by_any_name[name]
        self._check_limits(definition)
        self.unique = self.unique or definition.unique is not None
        self.fair = self.fair or definition.fair_by is not None
        self.batched = self.batched or definition.batch is not None
        self._origins[definition.name] = origin
        self._definitions[definition.name] = definition
        self._by_any_name.update(dict.fromkeys(names, definition))
        self._by_any_name[chunk_name(definition.name)] = chunked(definition)

    def _check_limits(self, definition: TaskDefinition) -> None:
        if definition.limits is None:
            return
        self.limited = True
        others = {name: one for name, one in self._definitions.items() if name != definition.name}
        known = {spec.name: (name, spec) for name, one in others.items() for spec in _limits(one)}
        for own in _limits(definition):
            name, spec = known.get(own.name, ("", own))
            if _numbers(spec) != _numbers(own):
                raise ConfigurationError(
                    f"tasks {name!r} and {definition.name!r} share the limit {spec.name!r} and give it other numbers: "
                    f"{_numbers(spec)} and {_numbers(own)}; define it once, or use another name"
                )

    def __getitem__(self, name: str) -> TaskDefinition:
        return self._by_any_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def find(self, name: str) -> TaskDefinition:
        """The definition of this task; raises UnknownTask."""
        try:
            return self._by_any_name[name]
        except KeyError:
            raise UnknownTask(name, list(self._definitions)) from None

    def same(self, one: str, other: str) -> bool:
        """Whether two names are those of one task; of a task that is not known here, only equal ones are."""
        definition = self._by_any_name.get(one)
        return one == other or (definition is not None and definition is self._by_any_name.get(other))

    def defaults(self, task: str) -> Defaults:
        """How this task is sent by default."""
        definition = self._by_any_name.get(task)
        return self._fallback if definition is None else definition.defaults

    def encode_call(
        self, task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, received: bool
    ) -> tuple[list[Plain], dict[str, Plain]]:
        """Check and encode arguments; those of a task that is not registered here are only encoded."""
        definition = self._by_any_name.get(task)
        if definition is not None:
            return definition.binding.encode_call(args, kwargs, received=received)
        encode = self.codec.encode
        return [encode(value) for value in args], {name: encode(value) for name, value in kwargs.items()}


def _limits(definition: TaskDefinition) -> Sequence[Rate | Concurrency]:
    return () if definition.limits is None else definition.limits.specs


def _numbers(spec: Rate | Concurrency) -> str:
    if isinstance(spec, Concurrency):
        return f"{spec.limit} at a time"
    return f"{spec.limit:g} per {spec.per:g} s, burst {spec.burst:g}"
