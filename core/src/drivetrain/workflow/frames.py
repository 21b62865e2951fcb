"""What a running task carries: its call, and the stack of frames that says what happens after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from attrs import evolve, field, frozen

from drivetrain.contract import Member, Plain, Retries

__all__ = ["NOTHING", "Call", "Fork", "Frame", "Frames", "Invocation", "Join", "Nothing", "ids"]


class Nothing:
    """The type of `NOTHING`."""

    __slots__ = ()


#: No value: what the first task of a workflow receives. (None is a value.)
NOTHING = Nothing()


@frozen(kw_only=True)
class Call:
    """A task to be run. All values are plain, and all ids are given when the workflow is sent."""

    id: str
    task: str
    args: tuple[Plain, ...] = ()
    kwargs: Mapping[str, Plain] = field(factory=dict)
    immutable: bool = False
    queue: str
    priority: int = 0
    headers: Mapping[str, str] = field(factory=dict)
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
    on_success: tuple[Frames, ...] = ()
    on_error: tuple[Frames, ...] = ()

    def receive(self, value: Plain | Nothing) -> Call:
        """This call with ``value`` as its first argument, unless there is none or the call is immutable."""
        if self.immutable or isinstance(value, Nothing):
            return self
        return evolve(self, args=(value, *self.args))


@frozen
class Fork:
    """A group to be opened; each branch ends in a `Join` once it is."""

    group_id: str
    branches: tuple[Frames, ...]
    #: Whether failed members take their place in the results.
    collect: bool = False


@frozen
class Join:
    """The end of a branch: the value is a member's of a group, whose own frames are kept with the group."""

    member: Member


Frame: TypeAlias = Call | Fork | Join
#: A continuation; the next frame comes first.
Frames: TypeAlias = tuple[Frame, ...]


@frozen(kw_only=True)
class Invocation:
    """What a message says: a call, which attempt of it this is, and what happens after it."""

    call: Call
    frames: Frames = ()
    #: The first attempt is 0.
    attempt: int = 0


def ids(frames: Frames) -> Iterator[str]:
    """The ids of all tasks and groups in ``frames``, in order. Callbacks, which may never be sent, are left out."""
    for frame in frames:
        if isinstance(frame, Call):
            yield frame.id
        elif isinstance(frame, Fork):
            yield frame.group_id
            for branch in frame.branches:
                yield from ids(branch)
