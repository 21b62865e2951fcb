"""Opens the providers of a task around each call of its function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from attrs import frozen

from drivetrain.worker.functions import is_async, signature_of, wraps_async
from drivetrain.worker.providers.overrides import ProviderOverrides
from drivetrain.worker.providers.plan import Needs, ProviderKind, Step, needs_of, sent_signature, steps_to

__all__ = ["with_providers"]

_Given = tuple[tuple[Any, ...], Mapping[str, Any]]


def with_providers(function: Callable[..., Any], overrides: ProviderOverrides) -> Callable[..., Any]:
    """A function that opens the providers of ``function``, and calls it; ``function`` itself if it needs none.

    A caller may give a provided parameter; then its provider is not called.

    Raises:
        InvalidSignature: providers and parameters do not fit.
    """
    needs = needs_of(function)
    if not needs:
        return function
    signature = sent_signature(function, needs)
    names = list(signature_of(function).parameters)
    wrapper = _wrapper(_Opening(function, needs, names, overrides, steps_to(needs, _itself)))
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    return wrapper


def _itself(provider: Callable[..., Any]) -> Callable[..., Any]:
    return provider


def _wrapper(opening: _Opening) -> Callable[..., Any]:
    function = opening.function
    if is_async(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await opening.call_async((args, kwargs))

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return opening.call((args, kwargs))

    @functools.wraps(function)
    def call_later(*args: Any, **kwargs: Any) -> Any:
        return opening.call_async((args, kwargs))

    # A plain decorator around a coroutine function may return the coroutine: then the function has only begun.
    return call_later if wraps_async(function) else call


@frozen(eq=False)
class _Opening:
    """Opens the providers of one task."""

    function: Callable[..., Any]
    needs: Needs
    names: Sequence[str]
    overrides: ProviderOverrides
    #: What to open for all of ``needs``, without overrides.
    all_steps: Sequence[Step]

    def steps(self, missing: Needs) -> Sequence[Step]:
        """What to open for these parameters."""
        if missing.keys() == self.needs.keys() and not self.overrides.active:
            return self.all_steps
        return steps_to(missing, self.overrides.of)

    def missing(self, given: _Given) -> Needs:
        """The provided parameters that a call does not give."""
        args, kwargs = given
        known = {*self.names[: len(args)], *kwargs}
        return {name: provider for name, provider in self.needs.items() if name not in known}

    def call(self, given: _Given) -> Any:
        """Call the function; async providers run on an event loop of the call."""
        args, kwargs = given
        missing = self.missing(given)
        steps = self.steps(missing)
        raised: BaseException | None = None
        with ExitStack() as stack:
            values: dict[Callable[..., Any], Any] = {}
            runner = _runner(stack) if any(step.kind.is_async for step in steps) else None
            for step in steps:
                values[step.named] = _open(step, _arguments(step.needs, values), stack, runner)
            try:
                return self.function(*args, **kwargs, **_arguments(missing, values))
            except BaseException as error:
                raised = error
                raise
        raise raised or AssertionError  # a provider has suppressed the error of the task

    async def call_async(self, given: _Given) -> Any:
        """Call the function, and await its result."""
        args, kwargs = given
        missing = self.missing(given)
        raised: BaseException | None = None
        async with AsyncExitStack() as stack:
            values: dict[Callable[..., Any], Any] = {}
            for step in self.steps(missing):
                values[step.named] = await _open_async(step, _arguments(step.needs, values), stack)
            try:
                value = self.function(*args, **kwargs, **_arguments(missing, values))
                return await value if inspect.isawaitable(value) else value
            except BaseException as error:
                raised = error
                raise
        raise raised or AssertionError  # as in call


def _arguments(needs: Needs, values: Mapping[Callable[..., Any], Any]) -> dict[str, Any]:
    return {name: values[provider] for name, provider in needs.items()}


def _runner(stack: ExitStack) -> Any:
    import asyncio  # seven megabytes; an application without coroutines does not need them

    return stack.enter_context(asyncio.Runner())


def _open(step: Step, arguments: Mapping[str, Any], stack: ExitStack, runner: Any) -> Any:
    if step.kind is ProviderKind.GENERATOR:
        return stack.enter_context(contextmanager(step.function)(**arguments))
    if step.kind is ProviderKind.ASYNC_GENERATOR:
        manager = asynccontextmanager(step.function)(**arguments)
        value = runner.run(manager.__aenter__())
        stack.push(lambda *error: runner.run(manager.__aexit__(*error)))
        return value
    value = step.function(**arguments)
    return runner.run(value) if step.kind is ProviderKind.COROUTINE else value


async def _open_async(step: Step, arguments: Mapping[str, Any], stack: AsyncExitStack) -> Any:
    if step.kind is ProviderKind.GENERATOR:
        return stack.enter_context(contextmanager(step.function)(**arguments))
    if step.kind is ProviderKind.ASYNC_GENERATOR:
        return await stack.enter_async_context(asynccontextmanager(step.function)(**arguments))
    value = step.function(**arguments)
    return await value if step.kind is ProviderKind.COROUTINE else value
