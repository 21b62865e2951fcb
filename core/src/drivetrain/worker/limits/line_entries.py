"""The entries of lines: under each number, the message of the task that waits with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drivetrain.contract import Message, ValueOutcome, ValueWrite, VersionedValue
from drivetrain.worker.limits.parked import AWAITED, SKIPPED, decode_parked, encode_parked, line_key

__all__ = ["LineEntries"]

#: How long an entry is stored, in seconds. The message of its task renews that, long before. So what a dead worker has
#: not removed goes by itself.
_ENTRY_SECONDS = 7200.0
#: How long a mark is stored, in seconds.
_MARK_SECONDS = 3600.0

#: The key of a limit, and a number in its line.
Number = tuple[str, int]


class LineEntries:
    """Reads and writes entries in batches. Thread-safe.

    A number is given in one write, and its message is stored in a second one. A worker that frees a place in between
    marks the number as awaited, by a write that takes effect only if nothing is stored. Either that mark or the
    message comes first. So one of the two workers gives the task its place.

    Args:
        read: reads versioned values.
        write: writes versioned values.
        largest_value: the largest value of the backend, in bytes; None: without limit.
    """

    def __init__(
        self,
        read: Callable[[Sequence[str]], Sequence[VersionedValue | None]],
        write: Callable[[Sequence[ValueWrite]], Sequence[ValueOutcome]],
        largest_value: int | None,
    ) -> None:
        self._read = read
        self._write = write
        self._largest_value = largest_value

    def first(self, numbers: Sequence[Number]) -> Sequence[bytes]:
        """The entries of the first numbers of lines, each the value of a message or a mark.

        Where nothing is stored, `AWAITED` is stored.
        """
        keys = [line_key(*number) for number in numbers]
        found = {key: one.value for key, one in zip(keys, self._read(keys), strict=True) if one is not None}
        missing = [key for key in keys if key not in found]
        if missing:
            outcomes = self._write([_mark(key, AWAITED, if_version=0) for key in missing])
            for key, outcome in zip(missing, outcomes, strict=True):
                found[key] = AWAITED if outcome.current is None else outcome.current.value
        return [found[key] for key in keys]

    def store(self, messages: Mapping[Number, Message]) -> tuple[list[Number], list[Number]]:
        """Store messages under their numbers.

        Returns:
            The numbers for which a place was free before their message was stored; and those that a task must not use,
            since something else is stored under them.
        """
        if not messages:
            return [], []
        writes = [self._entry(number, message, version=0) for number, message in messages.items()]
        awaited, refused, renewed = [], [], []
        for (number, message), outcome in zip(messages.items(), self._write(writes), strict=True):
            current = outcome.current
            if outcome.written or current is None:
                continue
            if current.value == AWAITED:
                awaited.append(number)
            elif current.value == SKIPPED or decode_parked(current.value)[0] != message.id:
                refused.append(number)
                continue
            renewed.append(self._entry(number, message, version=current.version))
        if renewed:
            self._write(renewed)
        return awaited, refused

    def abandon(self, numbers: Sequence[Number]) -> None:
        """Mark numbers with which no task waits."""
        self._write([_mark(line_key(*number), SKIPPED, if_version=None) for number in numbers])

    def _entry(self, number: Number, message: Message, *, version: int) -> ValueWrite:
        value = encode_parked(message, self._largest_value)
        return ValueWrite(key=line_key(*number), value=value, if_version=version, expires_in_seconds=_ENTRY_SECONDS)


def _mark(key: str, mark: bytes, *, if_version: int | None) -> ValueWrite:
    return ValueWrite(key=key, value=mark, if_version=if_version, expires_in_seconds=_MARK_SECONDS)
