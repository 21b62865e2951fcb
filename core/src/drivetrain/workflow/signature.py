"""Signatures, and the workflows made of them: what users write. Immutable values, sent by `drivetrain.app`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, Unpack, overload

from attrs import evolve, field, frozen
from typing_extensions import TypeVar

from drivetrain.contract import Failure, InvalidSignature
from drivetrain.workflow.habits import SIGNATURE_HABITS, raise_unknown
from drivetrain.workflow.options import NO_OPTIONS, Options, SignatureOptions, changed_options

if TYPE_CHECKING:
    from drivetrain.app.result import GroupResult, Result

__all__ = ["Chain", "Group", "Signature", "Takes", "Workflow", "as_workflows", "chain_parts"]

#: The type of a workflow's result.
R_co = TypeVar("R_co", covariant=True)
#: What it takes from the workflow before it: `Takes[…]`; by default nothing is checked.
In_co = TypeVar("In_co", covariant=True, default=Any)
V_contra = TypeVar("V_contra", contravariant=True)
S = TypeVar("S")
T = TypeVar("T")

#: The type of ``app.send``. A signature that a task has made holds that of its app; otherwise it is a plain value.
Sender = Callable[[Any], Any]


class Takes(Generic[V_contra]):
    """For type checkers: what a workflow takes from the one before it, as its first argument.

    ``add.s(1)`` is a ``Signature[int, Takes[int]]``. `Takes[object]` takes anything, as immutable signatures do.
    `Takes[Never]` takes nothing: all arguments are there. This is a separate class, not a contravariant variable of
    `Workflow`, because mypy joins workflows that differ in such a variable to `object`.
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
        return Chain((*chain_parts(self), *chain_parts(following)))

    def send(self) -> Result[R_co]:
        """Send it, and return a handle to its result.

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
        """The workflows inside it, without callbacks."""
        return ()

    if not TYPE_CHECKING:  # a type checker must find that there is no such method

        def __getattr__(self, name: str) -> Any:
            raise_unknown(f"a {type(self).__name__.lower()}", name, SIGNATURE_HABITS)


@frozen(kw_only=True)
class Signature(Workflow[R_co, In_co]):
    """A planned call of a task."""

    #: The name of the task.
    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)
    #: Whether it ignores the result of the task before it.
    immutable: bool = False
    options: Options = NO_OPTIONS
    #: Sent with the result when the task has succeeded, in addition to what follows it in its workflow.
    on_success: tuple[Workflow[Any], ...] = ()
    #: Sent with the `Failure` when the task ends as FAILURE or EXPIRED: because it failed itself, or because a task
    #: before it in its workflow did.
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
            options=changed_options(self.options, options),
            on_success=self.on_success if on_success is None else as_workflows("on_success", on_success),
            on_error=self.on_error if on_error is None else as_workflows("on_error", on_error),
        )


@frozen
class Chain(Workflow[R_co, In_co]):
    """Workflows that run one after the other. Each takes the result of the previous one as its first argument."""

    parts: tuple[Workflow[Any], ...]
    on_error: tuple[Workflow[Any], ...] = ()

    def set(self, *, on_error: Iterable[Workflow[Any, Takes[Failure]]]) -> Chain[R_co, In_co]:
        """This chain with callbacks. They are sent with the `Failure`, once for each task in it that finally fails."""
        return evolve(self, on_error=as_workflows("on_error", on_error))

    def inner(self) -> tuple[Workflow[Any], ...]:
        """See `Workflow.inner`."""
        return self.parts


@frozen
class Group(Workflow[list[T], In_co]):
    """Workflows that run in parallel. Its result is the list of their results, in order."""

    members: tuple[Workflow[T], ...]
    on_member_failure: Literal["fail", "collect"] = "fail"
    #: The id of the group; None: a new one each time it is sent.
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
            on_error=self.on_error if on_error is None else as_workflows("on_error", on_error),
            on_member_failure=on_member_failure or self.on_member_failure,
            group_id=self.group_id if group_id is None else group_id,
        )

    def inner(self) -> tuple[Workflow[Any], ...]:
        """See `Workflow.inner`."""
        return self.members


def chain_parts(workflow: Workflow[Any]) -> tuple[Workflow[Any], ...]:
    """The parts of a workflow in a chain: those of a chain, or the workflow itself."""
    # A chain with error callbacks stays one part: they belong to its tasks only.
    return workflow.parts if isinstance(workflow, Chain) and not workflow.on_error else (workflow,)


def as_workflows(what: str, items: Any) -> tuple[Workflow[Any], ...]:
    """The workflows in ``items``: one workflow, or nested iterables of workflows; ``what`` names them in errors.

    Raises:
        InvalidSignature: an item is not a workflow.
    """
    found: list[Workflow[Any]] = []
    for item in items if isinstance(items, Iterable) and not isinstance(items, Workflow) else (items,):
        if isinstance(item, Workflow):
            found.append(item)
        elif isinstance(item, Iterable) and not isinstance(item, str | bytes | Mapping):
            found.extend(as_workflows(what, item))
        else:
            hint = "; write task.s(…), not task" if hasattr(item, "s") else ""
            raise InvalidSignature(f"{what} takes signatures, chains and groups, not {item!r}{hint}")
    return tuple(found)
