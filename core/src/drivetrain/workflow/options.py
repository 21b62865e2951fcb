"""The options of a signature: how a task is sent. Immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from attrs import evolve, field, fields, frozen

from drivetrain.contract import InvalidSignature, Retries

__all__ = ["NO_OPTIONS", "Options", "SignatureOptions", "changed_options"]


def _aware(_record: object, attribute: Any, value: object) -> None:
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise InvalidSignature(
            f"{attribute.name} is {value!r}, which has no time zone; "
            f"give an aware datetime, like datetime.now(timezone.utc) + timedelta(hours=1)"
        )


def _check_eta(record: object, attribute: Any, value: object) -> None:
    if value is not None and not isinstance(value, datetime):
        raise InvalidSignature(f"eta is {value!r}; it must be an aware datetime; use delay= for seconds from now")
    _aware(record, attribute, value)


def _check_queue(_record: object, _attribute: object, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidSignature(f"queue is {value!r}; use a string that is not empty")


def _check_retry(_record: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, Retries):
        raise InvalidSignature(f"retry is {value!r}; it must be a policy, like retry.exponential(max_retries=3)")


def _check_priority(_record: object, _attribute: object, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 0):
        raise InvalidSignature(f"priority is {value!r}; use a whole number, 0 (lowest) or more")


def _check_task_id(_record: object, _attribute: object, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidSignature(f"task_id is {value!r}; use a string that is not empty")


def _check_dead_letter(_record: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise InvalidSignature(f"dead_letter is {value!r}; it must be True or False")


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < float("inf"):
        raise InvalidSignature(f"{name} is {value!r}; it must be a number of seconds or a timedelta, 0 or more")
    return float(number)


def _delay(value: Any) -> float | None:
    return _seconds("delay", value)


def _timeout(value: Any) -> float | None:
    return _seconds("timeout", value)


def _soft_timeout(value: Any) -> float | None:
    return _seconds("soft_timeout", value)


def _retention(value: Any) -> float | None:
    return _seconds("retention", value)


def _expires(value: Any) -> datetime | float | None:
    return value if isinstance(value, datetime) else _seconds("expires", value)


def _check_headers(_record: object, _attribute: object, value: Mapping[Any, Any]) -> None:
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise InvalidSignature(f"header {key!r} is {text!r}; header names and values must be strings")
        if key.startswith("drivetrain-") or key == "content-type":
            raise InvalidSignature(f"header {key!r} is reserved")


@frozen(kw_only=True)
class Options:
    """How a task is sent. None: the default of the task applies, or else that of the app."""

    #: Not before this time; must have a time zone.
    eta: datetime | None = field(default=None, validator=_check_eta)
    #: Not before this many seconds after it is published.
    delay: float | None = field(default=None, converter=_delay)
    #: Not to be started after this time, or after this many seconds from when it is published.
    expires: datetime | float | None = field(default=None, converter=_expires, validator=_aware)
    queue: str | None = field(default=None, validator=_check_queue)
    #: 0 is the lowest.
    priority: int | None = field(default=None, validator=_check_priority)
    headers: Mapping[str, str] = field(factory=dict, validator=_check_headers)
    retry: Retries | None = field(default=None, validator=_check_retry)
    #: How long one attempt may run, in seconds.
    timeout: float | None = field(default=None, converter=_timeout)
    #: After how many seconds of one attempt SoftTimeout is raised in the task, so that it can end early.
    soft_timeout: float | None = field(default=None, converter=_soft_timeout)
    #: How long the result is kept after the task has finished, in seconds.
    retention: float | None = field(default=None, converter=_retention)
    #: For brokers that keep the messages of one group in order (SQS FIFO queues); others ignore it.
    message_group: str | None = None
    #: Whether its message is kept in the dead letters when it has finally failed.
    dead_letter: bool | None = field(default=None, validator=_check_dead_letter)
    #: Whether a worker that does not know the task drops it at once, instead of leaving it to others.
    ignore_unknown: bool = False
    #: The id of the task; None: a new one for each time that it is sent.
    task_id: str | None = field(default=None, validator=_check_task_id)


#: No option is set: the defaults of the task and the app apply.
NO_OPTIONS = Options()


class SignatureOptions(TypedDict, total=False):
    """What `Signature.set` takes besides callbacks; see `Options` for what each means."""

    eta: datetime | None
    delay: float | timedelta | None
    expires: datetime | timedelta | float | None
    queue: str | None
    priority: int | None
    headers: Mapping[str, str]
    retry: Retries | None
    timeout: float | timedelta | None
    soft_timeout: float | timedelta | None
    retention: float | timedelta | None
    message_group: str | None
    dead_letter: bool | None
    ignore_unknown: bool
    task_id: str | None


def changed_options(options: Options, changes: Mapping[str, Any]) -> Options:
    """``options`` with some of them changed.

    Raises:
        InvalidSignature: an option is unknown, or its value is wrong.
    """
    known = {attribute.name for attribute in fields(Options)}
    if unknown := sorted(set(changes) - known):
        raise InvalidSignature(f"unknown option(s) {', '.join(unknown)}; use {', '.join(sorted(known))}")
    return evolve(options, **changes)
