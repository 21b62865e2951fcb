"""Keys of limits: texts made of the arguments of a call, by a template or by a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, TypeAlias

from attrs import field, frozen

from drivetrain.contract import InvalidSignature

__all__ = ["Arguments", "CallKey", "call_key"]

#: The decoded arguments of a call.
Arguments: TypeAlias = tuple[Sequence[Any], Mapping[str, Any]]


@frozen
class CallKey:
    """Makes the key of a call.

    Attributes:
        name: the name of the limit: the template itself. Operators use it.
        constant: whether all calls have one key, so that arguments need not be decoded.
    """

    name: str
    constant: bool
    _make: Callable[..., str] = field(repr=False, alias="make")

    def of(self, arguments: Arguments) -> str:
        """The key of a call. Raises what the function of the application raises."""
        args, kwargs = arguments
        return self._make(*args, **kwargs)


def call_key(
    task: str,
    function: Callable[..., Any],
    template: str,
    maker: Callable[..., object] | None = None,
    *,
    what: str = "limit",
) -> CallKey:
    """The key of the calls of a task.

    Args:
        task: the name of the task, for errors.
        function: the function of the task.
        template: a text in which ``{user}`` is the argument ``user``, and ``{user.id}`` an attribute of it.
        maker: called with the arguments of the task; what it returns, as text, follows the template and a colon.
        what: what the template is, for errors.

    Raises:
        InvalidSignature: the template is wrong, or names a parameter that the task does not have.
    """
    if not template or type(template) is not str:
        raise InvalidSignature(f"a limit of task {task!r} is named {template!r}; use a text that is not empty")
    names = _names_in(task, template, what)
    if maker is None and not names:
        return CallKey(template, constant=True, make=lambda *_args, **_kwargs: template)
    signature = inspect.signature(function)
    _check_names(task, template, names, signature, what)

    def make(*args: Any, **kwargs: Any) -> str:
        text = template.format_map(_by_name(signature, args, kwargs)) if names else template
        return text if maker is None else f"{text}:{maker(*args, **kwargs)}"

    return CallKey(template, constant=False, make=make)


def _names_in(task: str, template: str, what: str) -> set[str]:
    try:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InvalidSignature(f"the {what} {template!r} of task {task!r} is not a template: {error}") from error
    names = {name.partition(".")[0].partition("[")[0] for name in fields}
    if not all(name.isidentifier() for name in names):
        raise InvalidSignature(
            f"the {what} {template!r} of task {task!r} has a field without the name of a parameter; write {{user}}"
        )
    return names


def _check_names(task: str, template: str, names: set[str], signature: inspect.Signature, what: str) -> None:
    parameters = signature.parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return
    if unknown := sorted(names - {one.name for one in parameters}):
        known = ", ".join(one.name for one in parameters) or "none"
        raise InvalidSignature(
            f"the {what} {template!r} of task {task!r} names {', '.join(unknown)}, and the task has other parameters: "
            f"{known}"
        )


def _by_name(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    named = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(named.pop(parameter.name))
    return named
