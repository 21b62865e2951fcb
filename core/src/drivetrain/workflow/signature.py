"""Signatures, and the workflows made of them: what users write. Immutable values, sent by `drivetrain.app`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, Unpack, overload

from attrs import evolve, field, fields, frozen
from typing_extensions import TypeVar

from drivetrain.contract import Failure, InvalidSignature, Retries

if TYPE_CHECKING:
    from drivetrain.app.result import GroupResult, Result

__all__ = [
    "NO_OPTIONS",
    "Chain",
    "Group",
    "Options",
    "Signature",
    "SignatureOptions",
    "Takes",
    "Workflow",
    "chain",
    "chord",
    "group",
]

#: What a workflow results in.
R_co = TypeVar("R_co", covariant=True)
#: What it takes from the workflow before it: `Takes[…]`; by default nothing is checked.
In_co = TypeVar("In_co", covariant=True, default=Any)
V_contra = TypeVar("V_contra", contravariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
I = TypeVar("I")  # noqa: E741 - as In
S = TypeVar("S")
T = TypeVar("T")

#: What sends a workflow: ``app.send``. Signatures made by a task know their app's, and are otherwise plain values.
Sender = Callable[[Any], Any]


def _aware(_record: object, attribute: Any, value: object) -> None:
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise InvalidSignature(
            f"{attribute.name} is {value!r}, which has no time zone; "
            f"give an aware datetime, like datetime.now(timezone.utc) + timedelta(hours=1)"
        )


def _check_eta(record: object, attribute: Any, value: object) -> None:
    if value is not None and not isinstance(value, datetime):
        raise InvalidSignature(f"eta is {value!r}; it must be an aware datetime; for seconds from now there is delay=")
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
    """How a task is sent. None means: as the task, or the app, says."""

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


#: As the task says, and the app.
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
    retention: float | timedelta | None
    message_group: str | None
    dead_letter: bool | None
    ignore_unknown: bool
    task_id: str | None


class Takes(Generic[V_contra]):
    """For type checkers: what a workflow takes from the one before it, as its first argument.

    ``add.s(1)`` is a ``Signature[int, Takes[int]]``. `Takes[object]` takes anything, as immutable signatures do, and
    `Takes[Never]` nothing: all arguments are there. A class of its own, and not a contravariant variable of `Workflow`,
    since mypy joins workflows that differ in such a variable to `object`.
    """

    __slots__ = ()


class Workflow(Generic[R_co, In_co]):
    """A signature, a chain or a group: what can be sent, and put into other workflows.

    ``Workflow[int]`` results in an int; ``Workflow[int, Takes[str]]`` also takes a text from what comes before it.
    """

    __slots__ = ()

    def __or__(self, following: Workflow[S, Takes[R_co]]) -> Chain[S, In_co]:
        """``a | b``: first this, then ``following``, which takes the result first."""
        if not isinstance(following, Workflow):
            return NotImplemented
        return Chain((*_parts(self), *_parts(following)))

    def send(self) -> Result[R_co]:
        """Send it; a handle to its result.

        Raises:
            InvalidSignature: no task in it belongs to an app (use ``app.send(workflow)``), or it cannot be sent.
        """
        sender = self.find_sender()
        if sender is None:
            raise InvalidSignature("no signature in this workflow belongs to an app; send it with app.send(workflow)")
        result: Result[R_co] = sender(self)
        return result

    def find_sender(self) -> Sender | None:
        """The first sender that a signature in it knows."""
        pending: list[Workflow[Any]] = [self]
        while pending:
            workflow = pending.pop()
            if isinstance(workflow, Signature) and workflow.sender is not None:
                return workflow.sender
            pending.extend(reversed(workflow.inner()))
        return None

    def inner(self) -> tuple[Workflow[Any], ...]:
        """The workflows that it is made of; callbacks are left out."""
        return ()


@frozen(kw_only=True)
class Signature(Workflow[R_co, In_co]):
    """A call of a task that has yet to be made."""

    #: The name of the task.
    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)
    #: Whether it takes no result of the task before it.
    immutable: bool = False
    options: Options = NO_OPTIONS
    #: Sent, each with the result, when the task has succeeded; apart from what follows it in a workflow.
    on_success: tuple[Workflow[Any], ...] = ()
    #: Sent, each with the `Failure`, when the task ends as FAILURE or EXPIRED: because it failed itself, or because a
    #: task before it in its workflow did.
    on_error: tuple[Workflow[Any], ...] = ()
    sender: Sender | None = field(default=None, eq=False, repr=False)

    def set(
        self,
        *,
        on_success: Iterable[Workflow[Any, Takes[R_co]]] | None = None,
        on_error: Iterable[Workflow[Any, Takes[Failure]]] | None = None,
        **options: Unpack[SignatureOptions],
    ) -> Signature[R_co, In_co]:
        """This signature with some options changed; see `Options` for their names.

        Raises:
            InvalidSignature: an option is unknown, or its value is wrong.
        """
        return evolve(
            self,
            options=_changed(self.options, options),
            on_success=self.on_success if on_success is None else _workflows("on_success", on_success),
            on_error=self.on_error if on_error is None else _workflows("on_error", on_error),
        )


@frozen
class Chain(Workflow[R_co, In_co]):
    """Workflows one after the other; each takes the result of the one before it first."""

    parts: tuple[Workflow[Any], ...]
    on_error: tuple[Workflow[Any], ...] = ()

    def set(self, *, on_error: Iterable[Workflow[Any, Takes[Failure]]]) -> Chain[R_co, In_co]:
        """This chain with callbacks that are sent, with the `Failure`, once for each task in it that finally fails."""
        return evolve(self, on_error=_workflows("on_error", on_error))

    def inner(self) -> tuple[Workflow[Any], ...]:
        """See `Workflow.inner`."""
        return self.parts


@frozen
class Group(Workflow[list[T], In_co]):
    """Workflows side by side; results in the list of their results, in order."""

    members: tuple[Workflow[T], ...]
    on_member_failure: Literal["fail", "collect"] = "fail"
    #: The id of the group; None: a new one for each time that it is sent.
    group_id: str | None = None
    on_error: tuple[Workflow[Any], ...] = ()

    if TYPE_CHECKING:

        def send(self) -> GroupResult[T]:
            """See `Workflow.send`."""
            ...

    @overload
    def set(
        self,
        *,
        on_member_failure: Literal["collect"],
        on_error: Iterable[Workflow[Any, Takes[Failure]]] | None = None,
        group_id: str | None = None,
    ) -> Group[T | Failure, In_co]: ...
    @overload
    def set(
        self,
        *,
        on_error: Iterable[Workflow[Any, Takes[Failure]]] | None = None,
        on_member_failure: Literal["fail"] | None = None,
        group_id: str | None = None,
    ) -> Group[T, In_co]: ...
    def set(
        self,
        *,
        on_error: Iterable[Workflow[Any]] | None = None,
        on_member_failure: Literal["fail", "collect"] | None = None,
        group_id: str | None = None,
    ) -> Group[Any, In_co]:
        """This group with some options changed.

        Args:
            on_error: sent, with the `Failure`, once for each task in it that finally fails.
            on_member_failure: ``fail`` the group, or ``collect``: put the `Failure` in the place of the value.
            group_id: the id of the group.
        """
        return evolve(
            self,
            on_error=self.on_error if on_error is None else _workflows("on_error", on_error),
            on_member_failure=on_member_failure or self.on_member_failure,
            group_id=self.group_id if group_id is None else group_id,
        )

    def inner(self) -> tuple[Workflow[Any], ...]:
        """See `Workflow.inner`."""
        return self.members


#: Signatures in something that can be iterated over, whose types cannot be followed.
_Parts = Iterable[Workflow[Any, Any]]


@overload
def chain(a: Workflow[A, I], /) -> Chain[A, I]: ...
@overload
def chain(a: Workflow[A, I], b: Workflow[B, Takes[A]], /) -> Chain[B, I]: ...
@overload
def chain(a: Workflow[A, I], b: Workflow[B, Takes[A]], c: Workflow[C, Takes[B]], /) -> Chain[C, I]: ...
@overload
def chain(
    a: Workflow[A, I], b: Workflow[B, Takes[A]], c: Workflow[C, Takes[B]], d: Workflow[D, Takes[C]], /
) -> Chain[D, I]: ...
@overload
def chain(
    a: Workflow[A, I],
    b: Workflow[B, Takes[A]],
    c: Workflow[C, Takes[B]],
    d: Workflow[D, Takes[C]],
    e: Workflow[E, Takes[D]],
    /,
) -> Chain[E, I]: ...
@overload
def chain(
    a: Workflow[A, I],
    b: Workflow[B, Takes[A]],
    c: Workflow[C, Takes[B]],
    d: Workflow[D, Takes[C]],
    e: Workflow[E, Takes[D]],
    f: Workflow[F, Takes[E]],
    /,
    *more: Workflow[Any] | _Parts,
) -> Chain[Any, I]: ...
@overload
def chain(a: _Parts, /, *more: Workflow[Any] | _Parts) -> Chain[Any]: ...
@overload
def chain(a: Workflow[Any, I], b: _Parts, /, *more: Workflow[Any] | _Parts) -> Chain[Any, I]: ...
@overload
def chain(
    a: Workflow[A, I], b: Workflow[Any, Takes[A]], c: _Parts, /, *more: Workflow[Any] | _Parts
) -> Chain[Any, I]: ...
def chain(*parts: Any) -> Chain[Any]:
    """Workflows one after the other; each takes the result of the one before it as its first argument.

    Raises:
        InvalidSignature: there is no argument, or one is not a workflow.
    """
    members = _workflows("chain", parts)
    if not members:
        raise InvalidSignature("chain() needs at least one signature")
    return Chain(tuple(part for member in members for part in _parts(member)))


@overload
def group(a: Workflow[A, Takes[I]], b: Workflow[B, Takes[I]], /) -> Group[A | B, Takes[I]]: ...
@overload
def group(
    a: Workflow[A, Takes[I]], b: Workflow[B, Takes[I]], c: Workflow[C, Takes[I]], /
) -> Group[A | B | C, Takes[I]]: ...
@overload
def group(*members: Workflow[T, Takes[I]] | Iterable[Workflow[T, Takes[I]]]) -> Group[T, Takes[I]]: ...
@overload
def group(*members: Workflow[T] | Iterable[Workflow[T]]) -> Group[T]: ...
def group(*members: Any) -> Group[Any]:
    """Workflows side by side. An empty group results in ``[]``.

    Raises:
        InvalidSignature: an argument is not a workflow.
    """
    return Group(_workflows("group", members))


@overload
def chord(
    header: Workflow[Sequence[T], Takes[I]] | Iterable[Workflow[T, Takes[I]]], body: Workflow[S, Takes[list[T]]]
) -> Chain[S, Takes[I]]: ...
@overload
def chord(header: Iterable[Workflow[Any]], body: Workflow[S, Takes[list[Any]]]) -> Chain[S]: ...
def chord(header: Any, body: Workflow[S, Any]) -> Chain[S, Any]:
    """A group, and a workflow that takes the list of its results first, once, when all are there.

    Raises:
        InvalidSignature: an argument is not a workflow.
    """
    head = header if isinstance(header, Group) else group(header)
    return Chain((head, *_parts(*_workflows("chord", (body,)))))


def _parts(workflow: Workflow[Any]) -> tuple[Workflow[Any], ...]:
    # A chain with callbacks of its own stays one part: they watch over its tasks only.
    return workflow.parts if isinstance(workflow, Chain) and not workflow.on_error else (workflow,)


def _workflows(what: str, items: Any) -> tuple[Workflow[Any], ...]:
    found: list[Workflow[Any]] = []
    for item in items if isinstance(items, Iterable) and not isinstance(items, Workflow) else (items,):
        if isinstance(item, Workflow):
            found.append(item)
        elif isinstance(item, Iterable) and not isinstance(item, str | bytes | Mapping):
            found.extend(_workflows(what, item))
        else:
            hint = "; write task.s(…), not task" if hasattr(item, "s") else ""
            raise InvalidSignature(f"{what} takes signatures, chains and groups, not {item!r}{hint}")
    return tuple(found)


def _changed(options: Options, changes: Mapping[str, Any]) -> Options:
    known = {attribute.name for attribute in fields(Options)}
    if unknown := sorted(set(changes) - known):
        raise InvalidSignature(f"unknown option(s) {', '.join(unknown)}; use {', '.join(sorted(known))}")
    return evolve(options, **changes)
