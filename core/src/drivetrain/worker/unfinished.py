"""The payload that the record of an unfinished task carries: what the next start of it needs to know.

A terminal record's payload is the result or the failure; until then it is this.
"""

from __future__ import annotations

from msgspec import Struct

from drivetrain.contract import Plain, TaskRecord
from drivetrain.worker.payloads import Payloads

__all__ = ["Unfinished"]


class Unfinished(Struct, frozen=True, kw_only=True):
    """What is known of a task between its first record and its end. Immutable."""

    #: When the next attempt is due; Unix seconds. None: at once.
    due: float | None = None
    #: The failure of the attempt before, plain; None: there is no attempt before.
    failure: Plain = None
    #: How many times this attempt was started alone in its process.
    lone_starts: int = 0

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
        if self.failure is not None:
            fields["failure"] = self.failure
        if self.lone_starts:
            fields["lone_starts"] = self.lone_starts
        return payloads.dump(fields)
