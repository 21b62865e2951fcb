"""Chunks: one message for several calls of a task, which its worker makes one after another.

For each task ``name`` there is a task ``name[]``. Its only argument is the list of the arguments of each call, and its
result is the list of their results. It fails as a whole, with the first error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from drivetrain.contract import InvalidArguments, InvalidSignature, Plain, SerializationError
from drivetrain.worker.functions import is_async, wraps_async
from drivetrain.workflow.binding import Binding

__all__ = ["ChunkBinding", "chunk_function", "chunk_name", "chunked_name"]

_SUFFIX: Final = "[]"


def chunk_name(task: str) -> str:
    """The name of the task that runs chunks of a task."""
    return task + _SUFFIX


def chunked_name(task: str) -> str:
    """The name of the task itself, from its own name or that of the task that runs its chunks."""
    return task.removesuffix(_SUFFIX)


def chunk_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a chunk: makes each call in order, and returns their results."""
    if is_async(function) or wraps_async(function):

        @functools.wraps(function)
        async def call_each_async(calls: Sequence[Sequence[Any]]) -> list[Any]:
            results = []
            for args in calls:
                value = function(*args)
                results.append(await value if inspect.isawaitable(value) else value)
            return results

        return call_each_async

    @functools.wraps(function)
    def call_each(calls: Sequence[Sequence[Any]]) -> list[Any]:
        return [function(*args) for args in calls]

    return call_each


class ChunkBinding(Binding):
    """Encodes and decodes the calls of a chunk and their results, each as the task itself does. Thread-safe."""

    def __init__(self, each: Binding, *, refused: bool = False) -> None:
        """Make it.

        Args:
            each: encodes and decodes one call.
            refused: whether the task has limits or fair keys, is unique or batched: these hold for each call, and a
                chunk would evade them.
        """
        self._refused = refused
        self.task = chunk_name(each.task)
        self.function = each.function
        self._each = each

    def compile(self) -> None:
        """See `Binding.compile`."""
        self._each.compile()

    def encode_call(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, received: bool = False
    ) -> tuple[list[Plain], dict[str, Plain]]:
        """See `Binding.encode_call`."""
        if self._refused:
            raise InvalidSignature(
                f"task {self._each.task} has limits or fair_by, is unique or is called in batches, which holds for "
                "each call; use starmap(…) instead"
            )
        calls = self._calls(args, kwargs, received=received)
        return [[self._each.encode_call(call, {})[0] for call in calls]], {}

    def decode_call(self, args: Sequence[Plain], kwargs: Mapping[str, Plain]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See `Binding.decode_call`."""
        calls = self._calls(args, kwargs)
        return ([self._each.decode_call(call, {})[0] for call in calls],), {}

    def encode_result(self, value: object) -> Plain:
        """See `Binding.encode_result`."""
        return [self._each.encode_result(one) for one in _sequence(value, self.task)]

    def decode_result(self, plain: Plain) -> Any:
        """See `Binding.decode_result`."""
        return [self._each.decode_result(one) for one in _sequence(plain, self.task)]

    def _calls(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, received: bool = False
    ) -> Sequence[Sequence[Any]]:
        calls = args[0] if len(args) == 1 and not kwargs and not received else None
        if not isinstance(calls, (list, tuple)) or not all(isinstance(call, (list, tuple)) for call in calls):
            raise InvalidArguments(
                f"{self.task}() takes a list with the positional arguments of each call; make it with task.chunks(…)"
            )
        return calls


def _sequence(value: object, task: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise SerializationError(f"{task}(): the result is {value!r}; it must be a list of results")
    return value
