"""The contract of a retry policy, and its form in a signature: a name and parameters."""

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
    """Computes the delay before a retry. Pure: no clock, no sleep, and randomness as an argument."""

    def delay_seconds(self, retry: int, random: Random) -> float:
        """The delay before retry number ``retry``, in seconds: finite, 0 or more. The first retry is number 1."""
        ...


#: Read a class's own attributes, whatever its metaclass returns or raises.
_MODULE, _QUALNAME, _MRO = (type.__dict__[name] for name in ("__module__", "__qualname__", "__mro__"))


def exception_name(kind: type[BaseException]) -> str:
    """The name of an exception type in a message: ``module.QualName``. Never raises, whatever ``kind`` does."""
    module = _MODULE.__get__(kind)
    return f"{module if type(module) is str else '<unknown>'}.{str.__str__(_QUALNAME.__get__(kind))}"


def _names(kinds: Any) -> tuple[str, ...]:
    if isinstance(kinds, str | type):
        raise InvalidSignature(f"{kinds!r} must be a sequence of exception types; write ({kinds!r},)")
    return tuple(kind if isinstance(kind, str) else exception_name(kind) for kind in kinds)


def _check_max_retries(_record: object, _attribute: object, value: int) -> None:
    if type(value) is not int or value < 0:
        raise InvalidSignature(f"max_retries is {value!r}; it must be a whole number, 0 or more")


@frozen(kw_only=True)
class Retries:
    """How a task is retried. It is part of a signature, so it contains names and plain values only.

    Attributes:
        policy: the name of the policy, an entry point of ``drivetrain.retry_policies``.
        parameters: the parameters of the policy.
        max_retries: the most retries after the first attempt, 0 or more.
        retry_on: the names of exception types to retry, subtypes included; empty: all. Types become names.
        give_up_on: the names of exception types not to retry, subtypes included, whatever `retry_on` says.
    """

    policy: str
    parameters: Mapping[str, Plain] = field(factory=dict)
    max_retries: int = field(validator=_check_max_retries)
    retry_on: tuple[str, ...] = field(default=(), converter=_names)
    give_up_on: tuple[str, ...] = field(default=(), converter=_names)

    def retries(self, error: BaseException) -> bool:
        """Whether to retry after an error of this type. It does not count retries."""
        names = {exception_name(kind) for kind in _MRO.__get__(type(error))}
        if names.intersection(self.give_up_on):
            return False
        return not self.retry_on or bool(names.intersection(self.retry_on))
