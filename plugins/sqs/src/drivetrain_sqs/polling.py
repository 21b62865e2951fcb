"""Long polls: one for each queue, in a thread of its own, waiting for what one `receive` after the other asks for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from drivetrain.contract import Clock
from drivetrain_sqs.fetching import Fetched, Fetcher
from drivetrain_sqs.limits import BATCH_ENTRIES
from drivetrain_sqs.options import Options
from drivetrain_sqs.source import Source
from drivetrain_sqs.waiting import Call, Waiting

__all__ = ["Polls", "poll_seconds"]

#: A poll may end so much later than a receive whose caller is not known to ask again; polls have whole seconds.
_OVERTIME_SECONDS = 0.1


def poll_seconds(call: Call, now: float, longest_seconds: int) -> int:
    """How long a poll waits that begins ``now``, in whole seconds; 0: there is no time for one.

    As long as this call, or as long as its caller has asked already: who has asked for so long will go on. So an idle
    worker soon has polls of the full length, and one that asks just once leaves none behind.
    """
    seconds = max(call.deadline + _OVERTIME_SECONDS - now, now - call.asking_since)
    return int(max(0.0, min(seconds, float(longest_seconds))))


class Polls:
    """The polls that wait. Thread-safe."""

    def __init__(self, fetcher: Fetcher, waiting: Waiting, clock: Clock, options: Options) -> None:
        self._fetcher = fetcher
        self._waiting = waiting
        self._clock = clock
        self._options = options
        #: Threads that wait in a poll, or give back what it has brought.
        self._number = 0

    def begin(self, sources: Sequence[Source], call: Call, seconds: int) -> None:
        """Let a long poll wait for each, where none does."""
        with self._waiting.changed:
            for source in sources:
                if not source.polling:
                    threading.Thread(
                        target=self._poll, args=(source, call, seconds), name="drivetrain-sqs-poll", daemon=True
                    ).start()
                    # Only now: where no thread can be started, none waits. It cannot end before, for want of the lock.
                    source.polling = True
                    self._number += 1

    def join(self, timeout_seconds: float) -> None:
        """Wait until none waits, and what they have brought was given back."""
        end = self._clock.monotonic() + timeout_seconds
        with self._waiting.changed:
            while self._number and (left := end - self._clock.monotonic()) > 0:
                self._clock.wait(self._waiting.changed, left)

    def _poll(self, source: Source, call: Call, seconds: int) -> None:
        fetched: Fetched | None = None
        error: Exception | None = None
        try:
            fetched = self._fetcher.fetch(
                source, size=min(BATCH_ENTRIES, call.limit), wait_seconds=seconds, hold_seconds=call.hold_seconds
            )
        except Exception as caught:  # noqa: BLE001 - raised in the thread that is inside `receive`
            error = caught
        with self._waiting.changed:
            source.polling = False
            source.error = error
            if fetched is not None:
                self._note(source, fetched)
            left = self._waiting.arrived(source, call)
        self._waiting.give_back(left)
        with self._waiting.changed:
            self._number -= 1
            self._waiting.changed.notify_all()

    def _note(self, source: Source, fetched: Fetched) -> None:
        source.add(fetched.receipts)
        if fetched.number == BATCH_ENTRIES:  # there may be more, for several calls at once
            source.calls = max(source.calls, min(2, self._options.calls_in_flight))
        elif not fetched.number:
            source.empty_at = self._clock.monotonic()
