"""The payload that the record of an unfinished task carries: what the next start of it needs to know.

A terminal record's payload is the result or the failure; until then it is this.
"""

from __future__ import annotations

from msgspec import Struct

from drivetrain.contract import Plain, TaskRecord
from drivetrain.worker.payloads import Payloads
from drivetrain.workflow.frames import Frames, Invocation, Join, calls
from drivetrain.workflow.wire import dump_frames, load_frames

__all__ = ["Unfinished", "error_callbacks"]


class Unfinished(Struct, frozen=True, kw_only=True):
    """What is known of a task between its first record and its end. Immutable."""

    #: When the next attempt is due; Unix seconds. None: at once.
    due: float | None = None
    #: For which limit it waits, plain; None: for none. See `drivetrain.worker.limits.waits.WaitingFor`.
    limit: Plain = None
    #: The failure of the attempt before, plain; None: there is no attempt before.
    failure: Plain = None
    #: How many times this attempt was started alone in its process.
    lone_starts: int = 0
    #: The queue of its message, in records of older versions; later ones have it in `TaskRecord.queue`.
    queue: str = ""
    #: The error callbacks that its failure leads to, plain; None: there are none. See `error_callbacks`.
    on_error: Plain = None
    #: The frames that replace the task, plain; None: nothing does. Its next worker sends them again.
    replacement: Plain = None
    #: The worker from which this attempt was taken over last, since its lease had ended. Empty: none, or unknown.
    taken_over_from: str = ""

    @classmethod
    def load(cls, payloads: Payloads, record: TaskRecord | None) -> Unfinished:
        """The payload of ``record``; the defaults where there is no record, no payload, or a terminal state.

        Raises:
            SerializationError: the payload cannot be read.
        """
        if record is None or record.payload is None or record.state.terminal:
            return cls()
        plain = payloads.load(record.payload)
        known = plain if isinstance(plain, dict) else {}
        return cls(**{name: known[name] for name in cls.__struct_fields__ if name in known})

    def dump(self, payloads: Payloads) -> bytes:
        """The payload for a transition; fields that have their default are left out."""
        fields: dict[str, Plain] = {}
        if self.due is not None:
            fields["due"] = self.due
        if self.limit is not None:
            fields["limit"] = self.limit
        if self.failure is not None:
            fields["failure"] = self.failure
        if self.lone_starts:
            fields["lone_starts"] = self.lone_starts
        if self.queue:
            fields["queue"] = self.queue
        if self.on_error is not None:
            fields["on_error"] = self.on_error
        if self.replacement is not None:
            fields["replacement"] = self.replacement
        if self.taken_over_from:
            fields["taken_over_from"] = self.taken_over_from
        return payloads.dump(fields)

    def callbacks(self) -> tuple[Frames, ...]:
        """The error callbacks.

        Raises:
            SerializationError: they cannot be read.
        """
        return tuple(load_frames(one) for one in self.on_error) if isinstance(self.on_error, list) else ()


def error_callbacks(invocation: Invocation) -> Plain:
    """The error callbacks that a failure of ``invocation`` leads to, plain; None where there are none.

    Its own, those of the workflows around it, and those of the tasks that wait for it, which then never run. Recorded
    with the task, so that they can be sent when its message is gone.
    """
    call, frames = invocation.call, invocation.frames
    found = [*call.on_error, *call.workflow_on_error] if call.on_error or call.workflow_on_error else []
    if frames and not (len(frames) == 1 and isinstance(frames[0], Join)):  # nothing waits for most members of groups
        found += [then for waiting in calls(frames) for then in waiting.on_error]
    return [dump_frames(then) for then in found] if found else None
