"""What a running task carries: its call, and the stack of frames that says what happens after it.

These are msgspec's structs: every task has some made, written and read, which takes a tenth of the time here (see
docs/decisions/0016-msgspec.md). The names of their fields are those on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from drivetrain.contract import Member, Plain, Retries

__all__ = ["NOTHING", "Call", "Fork", "Frame", "Frames", "Invocation", "Join", "Nothing", "calls", "ids"]


#: A number that is counted from 0.
_Count: TypeAlias = Annotated[int, Meta(ge=0)]


class Nothing:
    """The type of `NOTHING`."""

    __slots__ = ()


#: No value: what the first task of a workflow receives. (None is a value.)
NOTHING = Nothing()


class Call(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="is", tag="call"
):
    """A task to be run. All values are plain, and all ids are given when the workflow is sent."""

    id: str
    task: str
    args: tuple[Plain, ...] = ()
    kwargs: Mapping[str, Plain] = field(default_factory=dict)
    immutable: bool = False
    queue: str
    priority: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Not before this time; Unix seconds.
    eta: float | None = None
    #: Not before this many seconds after it is published.
    delay: float | None = None
    #: Not to be started after this time; Unix seconds.
    expires_at: float | None = None
    #: Not to be started later than this many seconds after it is published.
    expires_after: float | None = None
    retries: Retries | None = None
    #: Seconds that one attempt may run.
    timeout: float | None = None
    #: Seconds that its result is kept.
    retention: float | None = None
    #: For brokers that keep the messages of one group in order.
    message_group: str | None = None
    #: Whether its message is kept in the dead letters when it has finally failed.
    dead_letter: bool = False
    #: Whether a worker that does not know the task drops it at once.
    ignore_unknown: bool = False
    on_success: tuple[tuple[Call | Fork | Join, ...], ...] = ()
    #: Its own error callbacks: sent when it ends as FAILURE or EXPIRED, whether it ran or a task before it failed.
    on_error: tuple[tuple[Call | Fork | Join, ...], ...] = ()
    #: The error callbacks of the chains and groups around it: sent only when it has failed itself.
    workflow_on_error: tuple[tuple[Call | Fork | Join, ...], ...] = ()

    def receive(self, value: Plain | Nothing) -> Call:
        """This call with ``value`` as its first argument, unless there is none or the call is immutable."""
        if self.immutable or isinstance(value, Nothing):
            return self
        return replace(self, args=(value, *self.args))


class Fork(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="is", tag="fork"):
    """A group to be opened; each branch ends in a `Join` once it is."""

    group_id: str
    branches: tuple[tuple[Call | Fork | Join, ...], ...]
    #: Whether failed members take their place in the results.
    collect: bool = False


class Join(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="is", tag="join"):
    """The end of a branch: the value is a member's of a group, whose own frames are kept with the group.

    Where that group is itself in a branch of another one, its frames end in a `Join` too. A backend that is a cache may
    drop them with the group; so the members know that `Join` as well, and one can be told that the other is lost.
    """

    group_id: str
    #: Counted from 0.
    index: _Count
    #: The place of the group itself in the group around it; None: there is none.
    outer: Join | None = None
    #: The id of what comes after the group and before ``outer``; empty: nothing does. It tells a group that was lost
    #: from one that had ended, and is not kept any more: what came after that one was published.
    then: str = ""

    @property
    def member(self) -> Member:
        """The place in the group."""
        return Member(self.group_id, self.index)


Frame: TypeAlias = Call | Fork | Join
#: A continuation; the next frame comes first.
Frames: TypeAlias = tuple[Frame, ...]


class Invocation(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a message says: a call, which attempt of it this is, and what happens after it."""

    call: Call
    frames: tuple[Call | Fork | Join, ...] = ()
    #: The first attempt is 0.
    attempt: _Count = 0


def calls(frames: Frames) -> Iterator[Call]:
    """The calls in ``frames``, in order. Callbacks, which may never be sent, are left out."""
    for frame in frames:
        if isinstance(frame, Call):
            yield frame
        elif isinstance(frame, Fork):
            for branch in frame.branches:
                yield from calls(branch)


def ids(frames: Frames) -> Iterator[str]:
    """The ids of all tasks and groups in ``frames``, in order. Callbacks, which may never be sent, are left out."""
    for frame in frames:
        if isinstance(frame, Call):
            yield frame.id
        elif isinstance(frame, Fork):
            yield frame.group_id
            for branch in frame.branches:
                yield from ids(branch)
