"""Reads which parameters of a function providers supply, and in which order these are opened. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from inspect import Parameter
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from attrs import frozen

from drivetrain.contract import InvalidSignature
from drivetrain.worker.functions import inner_function, is_async, signature_of
from drivetrain.worker.providers.marker import Provided

__all__ = ["Needs", "ProviderKind", "Step", "needs_of", "sent_signature", "steps_to"]

Provider = Callable[..., Any]
#: The provider of each parameter that is provided.
Needs = Mapping[str, Provider]

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_MANY: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class ProviderKind(Enum):
    """What a call of a provider gives."""

    VALUE = auto()
    GENERATOR = auto()
    COROUTINE = auto()
    ASYNC_GENERATOR = auto()

    @property
    def is_async(self) -> bool:
        """Whether it needs an event loop."""
        return self in (ProviderKind.COROUTINE, ProviderKind.ASYNC_GENERATOR)

    @classmethod
    def of(cls, provider: Provider) -> ProviderKind:
        """The kind of a provider."""
        inner = inner_function(provider)
        if inspect.isgeneratorfunction(inner):
            return cls.GENERATOR
        if inspect.isasyncgenfunction(inner):
            return cls.ASYNC_GENERATOR
        return cls.COROUTINE if is_async(provider) else cls.VALUE


@frozen
class Step:
    """A provider to open, after those that it needs.

    Attributes:
        named: the provider that parameters name.
        function: what is called: the same, or its replacement.
        kind: what the call gives.
        needs: the providers of its own parameters, which were opened before.
    """

    named: Provider
    function: Provider
    kind: ProviderKind
    needs: Needs


def steps_to(needs: Needs, replaced: Callable[[Provider], Provider]) -> Sequence[Step]:
    """The providers that these parameters need, each once and after those that it needs itself.

    Args:
        needs: the parameters.
        replaced: what is called in place of a provider.

    Raises:
        InvalidSignature: nothing supplies a parameter of a provider, or providers need each other.
    """
    steps: dict[Provider, Step] = {}
    for provider in needs.values():
        _add(provider, steps, replaced, ())
    return tuple(steps.values())


def _add(
    provider: Provider, steps: dict[Provider, Step], replaced: Callable[[Provider], Provider], path: Sequence[Provider]
) -> None:
    if provider in path:
        circle = " -> ".join(map(_name, (*path[path.index(provider) :], provider)))
        raise InvalidSignature(f"providers need each other: {circle}")
    if provider in steps:
        return
    function = replaced(provider)
    needs = needs_of(function)
    _check_supplied(function, needs)
    for inner in needs.values():
        _add(inner, steps, replaced, (*path, provider))
    steps[provider] = Step(provider, function, ProviderKind.of(function), needs)


def _check_supplied(provider: Provider, needs: Needs) -> None:
    for parameter in _parameters(provider):
        is_required = parameter.default is Parameter.empty and parameter.kind not in _MANY
        if is_required and parameter.name not in needs:
            raise InvalidSignature(
                f"the provider {_name(provider)}() has a parameter {parameter.name!r} that nothing supplies; give it a "
                f"default, or a provider: {parameter.name}=provided(function)"
            )


def needs_of(function: Callable[..., Any]) -> Needs:
    """The provider of each parameter of a function that is provided.

    Raises:
        InvalidSignature: a marker names no provider, or stands in an annotation without the default.
    """
    needs: dict[str, Provider] = {}
    for parameter in _parameters(function):
        name, default = parameter.name, parameter.default
        if isinstance(default, Provided):
            needs[name] = default.provider or _annotated_provider(function, name)
        elif _provider_in(parameter.annotation) is not None:
            raise InvalidSignature(
                f"{_name(function)}(): the annotation of {name!r} names a provider, so give it the default provided()"
            )
    return needs


def sent_signature(function: Callable[..., Any], needs: Needs) -> inspect.Signature:
    """The signature of a task without its provided parameters.

    Raises:
        InvalidSignature: one of them comes before a parameter that is given by position, or is positional only.
    """
    signature, first = signature_of(function), ""
    for parameter in signature.parameters.values():
        if parameter.name in needs:
            first = first or parameter.name
            if parameter.kind is Parameter.POSITIONAL_ONLY:
                raise InvalidSignature(f"{_name(function)}(): {parameter.name!r} is provided, so it needs a keyword")
        elif first and parameter.kind in (*_POSITIONAL, Parameter.VAR_POSITIONAL):
            raise InvalidSignature(
                f"{_name(function)}(): {first!r} is provided, so it must come after {parameter.name!r}"
            )
    return signature.replace(parameters=[one for one in signature.parameters.values() if one.name not in needs])


def _parameters(function: Callable[..., Any]) -> Sequence[Parameter]:
    try:
        return list(signature_of(function).parameters.values())
    except (TypeError, ValueError):  # a built-in function has no signature, and no marker
        return ()


def _annotated_provider(function: Callable[..., Any], name: str) -> Provider:
    try:
        hint = get_type_hints(inspect.unwrap(inner_function(function)), include_extras=True).get(name)
    except Exception as error:
        raise InvalidSignature(f"the annotations of {_name(function)}() cannot be resolved: {error}") from error
    provider = _provider_in(hint)
    if provider is None:
        raise InvalidSignature(
            f"{_name(function)}(): nothing provides {name!r}; name a function: {name}=provided(function)"
        )
    return provider


def _provider_in(annotation: Any) -> Provider | None:
    if get_origin(annotation) is not Annotated:
        return None
    return next((one.provider for one in get_args(annotation)[1:] if isinstance(one, Provided)), None)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", function))
