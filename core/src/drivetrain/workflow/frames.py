"""Frames: a message carries the call of a task, and a stack of frames that continue after it.

They are msgspec structs: each task encodes and decodes some, and other classes take ten times as long (see
docs/decisions/0016-msgspec.md). The names of their fields are the names in messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from drivetrain.contract import Member, Plain, Retries

__all__ = [
    "NOTHING",
    "TICK_HEADER",
    "UNIQUE_HEADER",
    "WORKFLOW_HEADER",
    "Call",
    "Fork",
    "Frame",
    "Frames",
    "Invocation",
    "Join",
    "Nothing",
    "calls",
    "given_headers",
    "ids",
    "steps",
]

#: The header of a message with the id of the first task or group of its workflow. A task that is a workflow by itself
#: has none. Calls of older versions have it among their own headers.
WORKFLOW_HEADER = "drivetrain-workflow"

#: The header of all calls that a schedule has sent: the tick, as `drivetrain.worker.schedules.tick` reads it.
TICK_HEADER = "drivetrain-tick"

#: The header of a call of a unique task with the key of the value that holds its claim.
UNIQUE_HEADER = "drivetrain-unique"

_OWN_HEADERS = frozenset({WORKFLOW_HEADER, TICK_HEADER, UNIQUE_HEADER})

#: A number of 0 or more.
_Count: TypeAlias = Annotated[int, Meta(ge=0)]


class Nothing:
    """The type of `NOTHING`."""

    __slots__ = ()


#: No value: what the first task of a workflow receives. (None is a value.)
NOTHING = Nothing()


class Call(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="is", tag="call"
):
    """A task to run. All values are plain, and all ids are fixed when the workflow is sent."""

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
    #: Seconds after which SoftTimeout is raised in the attempt.
    soft_timeout: float | None = None
    #: Seconds that its result is kept.
    retention: float | None = None
    #: For brokers that keep the messages of one group in order.
    message_group: str | None = None
    #: Whether its message is kept in the dead letters when it has finally failed.
    dead_letter: bool = False
    #: Whether a worker that does not know the task drops it at once.
    ignore_unknown: bool = False
    #: Whether it has run and was replaced by the frames before it: it ends with the value that it receives.
    replaced: bool = False
    on_success: tuple[tuple[Call | Fork | Join, ...], ...] = ()
    #: Its own error callbacks: sent when it ends as FAILURE or EXPIRED, whether it or a task before it failed.
    on_error: tuple[tuple[Call | Fork | Join, ...], ...] = ()
    #: The error callbacks of the chains and groups around it: sent only when it fails itself.
    workflow_on_error: tuple[tuple[Call | Fork | Join, ...], ...] = ()

    @property
    def has_callbacks(self) -> bool:
        """Whether it, or a workflow around it, has callbacks."""
        return bool(self.on_success or self.on_error or self.workflow_on_error)

    def receive(self, value: Plain | Nothing) -> Call:
        """This call with ``value`` as its first argument, unless there is none or the call is immutable."""
        if self.immutable or isinstance(value, Nothing):
            return self
        return replace(self, args=(value, *self.args))


class Fork(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="is", tag="fork"):
    """A group that is not open yet. Each branch gets a `Join` at its end when the group is opened."""

    group_id: str
    branches: tuple[tuple[Call | Fork | Join, ...], ...]
    #: Whether the results contain the failures of failed members.
    collect: bool = False


class Join(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="is", tag="join"):
    """The end of a branch: its value is that of a member of a group. The backend keeps the group's own frames.

    If that group is itself in a branch of another group, its frames end in a `Join` too. A cache may drop them with the
    group. So the members carry that `Join` as well, and can report the loss to the outer group.
    """

    group_id: str
    #: Counted from 0.
    index: _Count
    #: The membership of the group in an outer group; None: there is none.
    outer: Join | None = None
    #: The id of the task or group after this group and before ``outer``; empty: there is none. It distinguishes a lost
    #: group from one that has succeeded and expired: in the second case the task after the group was published.
    then: str = ""

    @property
    def member(self) -> Member:
        """The member of the group."""
        return Member(self.group_id, self.index)


Frame: TypeAlias = Call | Fork | Join
#: A continuation; the next frame comes first.
Frames: TypeAlias = tuple[Frame, ...]


class Invocation(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The content of a message: a call, the number of its attempt, and the frames that continue after it."""

    call: Call
    frames: tuple[Call | Fork | Join, ...] = ()
    #: The first attempt is 0.
    attempt: _Count = 0
    #: The key of the frames that follow ``frames``, which the backend stores; empty: none follow. See
    #: `drivetrain.worker.long_chains`.
    rest: str = ""


def given_headers(call: Call) -> Mapping[str, str]:
    """The headers of a call that its sender and plugins have given. Read-only."""
    # Older versions added the workflow to the headers of calls.
    if _OWN_HEADERS.isdisjoint(call.headers):
        return MappingProxyType(call.headers)
    return MappingProxyType({name: text for name, text in call.headers.items() if name not in _OWN_HEADERS})


def calls(frames: Frames) -> Iterator[Call]:
    """The calls in ``frames``, in order. Callbacks, which may never be sent, are left out."""
    for frame in frames:
        if isinstance(frame, Call):
            yield frame
        elif isinstance(frame, Fork):
            for branch in frame.branches:
                yield from calls(branch)


def steps(frames: Frames) -> Iterator[Call | Fork]:
    """All tasks and groups in ``frames``, in order. Callbacks, which may never be sent, are left out."""
    for frame in frames:
        if isinstance(frame, Call):
            yield frame
        elif isinstance(frame, Fork):
            yield frame
            for branch in frame.branches:
                yield from steps(branch)


def ids(frames: Frames) -> Iterator[str]:
    """The ids of all tasks and groups in ``frames``, in order. Callbacks, which may never be sent, are left out."""
    for frame in frames:
        if isinstance(frame, Call):
            yield frame.id
        elif isinstance(frame, Fork):
            yield frame.group_id
            for branch in frame.branches:
                yield from ids(branch)
