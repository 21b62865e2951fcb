"""The contract of a retry policy, and how one travels with a task: by name and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from drivetrain.contract.errors import InvalidSignature
from drivetrain.contract.serializer import Plain

__all__ = ["Retries", "RetryPolicy", "exception_name"]


@runtime_checkable
class RetryPolicy(Protocol):
    """Says how long to wait before a retry. Pure: no clock, no sleep, randomness by argument."""

    def delay_seconds(self, retry: int, random: Random) -> float:
        """Seconds to wait before retry number ``retry`` (the first is 1). Finite, never negative."""
        ...


#: What a class itself holds, whatever its metaclass answers instead, or raises.
_MODULE, _QUALNAME, _MRO = (type.__dict__[name] for name in ("__module__", "__qualname__", "__mro__"))


def exception_name(kind: type[BaseException]) -> str:
    """How an exception type is named in a message: ``module.QualName``. Raises nothing, whatever ``kind`` does."""
    module = _MODULE.__get__(kind)
    return f"{module if type(module) is str else '<unknown>'}.{str.__str__(_QUALNAME.__get__(kind))}"


def _names(kinds: Any) -> tuple[str, ...]:
    if isinstance(kinds, str | type):
        raise InvalidSignature(f"{kinds!r} stands where several exception types belong; write ({kinds!r},)")
    return tuple(kind if isinstance(kind, str) else exception_name(kind) for kind in kinds)


def _check_max_retries(_record: object, _attribute: object, value: int) -> None:
    if type(value) is not int or value < 0:
        raise InvalidSignature(f"max_retries is {value!r}; it must be a whole number, 0 or more")


@frozen(kw_only=True)
class Retries:
    """How a task is retried. Travels with its signature, so it holds names and plain values only."""

    #: The name of the policy: an entry point of ``drivetrain.retry_policies``.
    policy: str
    #: What the policy is made with.
    parameters: Mapping[str, Plain] = field(factory=dict)
    #: How often at most, after the first attempt.
    max_retries: int = field(validator=_check_max_retries)
    #: Only errors of these types (or their subtypes) are retried; empty: all.
    retry_on: tuple[str, ...] = field(default=(), converter=_names)
    #: Errors of these types (or their subtypes) are not, whatever `retry_on` says.
    give_up_on: tuple[str, ...] = field(default=(), converter=_names)

    def retries(self, error: BaseException) -> bool:
        """Whether an error of this type is one to retry (the count apart)."""
        names = {exception_name(kind) for kind in _MRO.__get__(type(error))}
        if names.intersection(self.give_up_on):
            return False
        return not self.retry_on or bool(names.intersection(self.retry_on))
