"""Receiving: from several queues in order, with long polls, and with no more calls than needed.

While messages come, the driver asks the queues one after the other, with as many calls at once as have brought full
batches. While there are none, one long poll for each queue waits in a thread of its own. A poll may outlast the
`receive` that has begun it, and the next `receive` uses it. The buffer takes what a poll brings.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial

from attrs import frozen

from drivetrain.contract import Clock, Delivery, ServiceError
from drivetrain_sqs.connection import Api
from drivetrain_sqs.errors import is_missing_queue
from drivetrain_sqs.limits import BATCH_ENTRIES
from drivetrain_sqs.options import Options
from drivetrain_sqs.queue_names import Role
from drivetrain_sqs.queues import Queues
from drivetrain_sqs.receive_buffer import Arrival, QueueBuffer, ReceiveBuffer, ReceiveCall
from drivetrain_sqs.settle import Receipt, visibility

__all__ = ["Receiver"]

logger = logging.getLogger("drivetrain.sqs")

#: The pause between calls if too little time is left for a long poll, in seconds.
_PACE_SECONDS = 0.1
#: After a longer pause between two calls of `receive`, the caller counts as new, in seconds.
_PAUSE_SECONDS = 1.0
#: How long after an empty `receive` its polls prove that queues are empty, in seconds.
_EMPTY_FOR_SECONDS = 0.5
#: The log names a queue that fails next to others at most this often, in seconds.
_LOG_SECONDS = 10.0
#: A poll may end this much later than the `receive` of a new caller. Polls last whole seconds.
_OVERTIME_SECONDS = 0.1
_NEVER = (math.inf, -math.inf)


class Receiver:
    """Receives messages. One thread at a time calls `receive`; any thread may call `close`."""

    def __init__(self, *, api: Api, queues: Queues, buffer: ReceiveBuffer, clock: Clock, options: Options) -> None:
        self._api = api
        self._queues = queues
        self._buffer = buffer
        self._clock = clock
        self._options = options
        self._fetcher = _Fetcher(api, queues, buffer, clock)
        self._polls = _LongPolls(self._fetcher, buffer, clock, options)
        #: When the last `receive` began and ended, if it was empty; monotonic seconds, as all that follows.
        self._last_empty = _NEVER
        #: When the caller's uninterrupted series of `receive` calls began and ended.
        self._series = _NEVER
        #: When the log last named a queue that failed next to others.
        self._logged_at = -math.inf

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []
        began = self._clock.monotonic()
        since = self._series[0] if began - self._series[1] <= _PAUSE_SECONDS else began
        with self._buffer.changed:
            call = ReceiveCall(limit, hold_seconds, began + wait_seconds, since, self._buffer.closings)
            self._buffer.begin_receive()
        try:
            taken = self._receive(queues, call)
            self._last_empty = _NEVER if taken else (began, self._clock.monotonic())
            return taken
        finally:
            self._series = _NEVER if self._buffer.is_closed(call) else (since, self._clock.monotonic())
            with self._buffer.changed:
                self._buffer.end_receive()

    def close(self) -> None:
        """Wake a waiting `receive` and release the messages in the buffer.

        The driver cannot cancel a long poll. While the process lives, it releases what a poll brings, so it waits for
        the polls as long as the option ``close_seconds`` says.
        """
        self._buffer.close()
        self._polls.join(self._options.close_seconds)

    def _receive(self, queues: Sequence[str], call: ReceiveCall) -> list[Delivery]:
        buffers, later, errors = self._find_queues(queues)
        self._polls.begin(later, call, max(1, self._poll_seconds(call)))
        if errors or not self._polls_first(buffers, call):
            taken = self._sweep(buffers, call, errors)
        else:
            taken = self._buffer.take_due(buffers, call, call.limit)
        while not taken and self._goes_on(call):
            seconds = self._poll_seconds(call)
            self._polls.begin(later, call, max(1, seconds))
            self._polls.begin(buffers if seconds else (), call, seconds)
            self._wait([*buffers, *later], call, seconds)
            if self._buffer.is_closed(call):
                break
            if seconds:
                taken = self._buffer.take_due(buffers, call, call.limit)
            else:
                taken = self._sweep(buffers, call, [], skip_empty=False)
            if not taken:
                self._raise_poll_error([*buffers, *later])
                self._buffer.release_surplus(buffers, call.limit)
        return taken

    def _find_queues(self, queues: Sequence[str]) -> tuple[list[QueueBuffer], list[QueueBuffer], list[ServiceError]]:
        """The buffers of the queues, those of their queues for later messages, and the errors of the other queues."""
        roles = (Role.MAIN, Role.LATER) if self._options.fifo else (Role.MAIN,)
        found: dict[Role, list[QueueBuffer]] = {Role.MAIN: [], Role.LATER: []}
        errors: list[ServiceError] = []
        for queue in dict.fromkeys(queues):
            try:
                sqs_queues = [(role, self._queues.get_for_receiving(queue, role)) for role in roles]
            except ServiceError as error:
                errors.append(error)
                continue
            for role, sqs_queue in sqs_queues:
                found[role].append(self._buffer.buffer_of(queue, role, sqs_queue))
        return found[Role.MAIN], found[Role.LATER], errors

    def _polls_first(self, buffers: Sequence[QueueBuffer], call: ReceiveCall) -> bool:
        """Whether to begin with a long poll: for a single queue that has brought few messages.

        A long poll returns at once if there are messages. It also asks all servers of SQS; a short one does not.
        """
        return len(buffers) == 1 and buffers[0].calls == 1 and self._poll_seconds(call) > 0

    def _poll_seconds(self, call: ReceiveCall) -> int:
        """How long a poll that begins now waits, in whole seconds; 0: too little time is left for one.

        It waits as long as this call, or as long as the caller has been asking, because such a caller goes on asking.
        So an idle worker soon has polls of full length, and a caller that asks once leaves no poll behind.
        """
        now = self._clock.monotonic()
        seconds = max(call.deadline + _OVERTIME_SECONDS - now, now - call.asking_since)
        return int(max(0.0, min(seconds, float(self._options.wait_seconds))))

    def _goes_on(self, call: ReceiveCall) -> bool:
        return self._clock.monotonic() < call.deadline and not self._buffer.is_closed(call)

    def _wait(self, buffers: Sequence[QueueBuffer], call: ReceiveCall, seconds: int) -> None:
        """Wait for a message that is due, an error, the end of a poll, `close` or the deadline."""
        with self._buffer.changed:
            now = self._clock.now()
            if self._buffer.is_closed(call) or any(buffer.error or buffer.is_due(now) for buffer in buffers):
                return
            if seconds and not all(buffer.polling for buffer in buffers):
                return  # a poll has just ended: read the buffer, then begin another poll
            remaining = call.deadline - self._clock.monotonic()
            next_due = min(buffer.next_due() for buffer in buffers) - now
            pause = max(0.0, min(remaining, next_due, math.inf if seconds else _PACE_SECONDS))
            self._clock.wait(self._buffer.changed, pause)

    def _raise_poll_error(self, buffers: Sequence[QueueBuffer]) -> None:
        with self._buffer.changed:
            errors = [buffer.error for buffer in buffers if buffer.error is not None]
            for buffer in buffers:
                buffer.error = None
        if errors:
            raise errors[0]

    # Short polls

    def _sweep(
        self, buffers: Sequence[QueueBuffer], call: ReceiveCall, errors: list[ServiceError], *, skip_empty: bool = True
    ) -> list[Delivery]:
        """Ask the queues in order until the limit is reached; by default without those that are known to be empty.

        A queue that fails does not keep the others waiting. Its error is raised if there is no message, and logged if
        there is one.
        """
        taken: list[Delivery] = []
        for buffer in buffers:
            try:
                taken += self._drain(buffer, call, call.limit - len(taken), skip_empty=skip_empty)
            except ServiceError as error:
                errors.append(error)
            if len(taken) >= call.limit:
                break
        if errors and not taken:
            raise errors[0]
        if errors:
            self._log(errors)
        return taken

    def _log(self, errors: Sequence[ServiceError]) -> None:
        now = self._clock.monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            logger.warning("could not receive from some queues: %s", "; ".join(map(str, errors)))

    def _drain(self, buffer: QueueBuffer, call: ReceiveCall, room: int, *, skip_empty: bool) -> list[Delivery]:
        taken = self._buffer.take_due([buffer], call, room)
        if skip_empty and self._is_known_empty(buffer):
            return taken
        more = True
        while more and len(taken) < room and len(buffer) < room + BATCH_ENTRIES:
            try:
                more = self._ask(buffer, call, room - len(taken))
            except ServiceError:
                if not taken:
                    raise
                break  # deliver what was received; the next call raises the error
            taken += self._buffer.take_due([buffer], call, room - len(taken))
        return taken

    def _is_known_empty(self, buffer: QueueBuffer) -> bool:
        began, ended = self._last_empty
        return buffer.polling or (buffer.empty_at >= began and self._clock.monotonic() - ended < _EMPTY_FOR_SECONDS)

    def _ask(self, buffer: QueueBuffer, call: ReceiveCall, room: int) -> bool:
        """Receive up to ``room`` messages into ``buffer``, by several calls at once. Return whether there may be more.

        The number of calls doubles while they bring full batches, and halves when they do not.
        """
        number = min(math.ceil(room / BATCH_ENTRIES), buffer.calls)
        wanted = min(room, number * BATCH_ENTRIES)
        sizes = [min(BATCH_ENTRIES, wanted - start) for start in range(0, wanted, BATCH_ENTRIES)]
        calls: list[Callable[[], int]] = [partial(self._fetch, buffer, call, size) for size in sizes]
        outcomes = self._api.call_all(calls)
        came = sum(each for each in outcomes if not isinstance(each, ServiceError))
        errors = [each for each in outcomes if isinstance(each, ServiceError)]
        if errors and not came:
            raise errors[0]
        buffer.calls = min(2 * number, self._options.calls_in_flight) if came == wanted else max(1, number // 2)
        return came == wanted

    def _fetch(self, buffer: QueueBuffer, call: ReceiveCall, size: int) -> int:
        """Receive up to ten messages into ``buffer``; return how many came."""
        fetched = self._fetcher.fetch(buffer, size=size, wait_seconds=0, hold_seconds=call.hold_seconds)
        with self._buffer.changed:
            buffer.add(fetched.receipts)
        return fetched.number


@frozen
class _Fetched:
    """The messages of one receive call of SQS."""

    #: How many messages came.
    number: int
    #: Those that are for the caller.
    receipts: list[Receipt]


class _Fetcher:
    """Makes receive calls of SQS. Thread-safe."""

    def __init__(self, api: Api, queues: Queues, buffer: ReceiveBuffer, clock: Clock) -> None:
        self._api = api
        self._queues = queues
        self._buffer = buffer
        self._clock = clock

    def fetch(self, buffer: QueueBuffer, *, size: int, wait_seconds: int, hold_seconds: float) -> _Fetched:
        """Receive up to ``size`` messages, at most ten; wait for the first one."""
        hidden = visibility(hold_seconds)
        began = self._clock.monotonic()
        try:
            answer = self._api.call(
                "ReceiveMessage",
                buffer.sqs_queue.name,
                QueueUrl=buffer.sqs_queue.url,
                MaxNumberOfMessages=size,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=hidden,
                AttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        except ServiceError as error:
            if is_missing_queue(error):
                self._queues.forget(buffer.sqs_queue.name)
            raise
        raws = answer.get("Messages", ())
        arrival = Arrival(raws=raws, began=began, wait_seconds=wait_seconds, visibility_seconds=hidden)
        return _Fetched(len(raws), self._buffer.admit(buffer, arrival))


class _LongPolls:
    """The long polls: at most one for each queue, in a thread of its own. Thread-safe."""

    def __init__(self, fetcher: _Fetcher, buffer: ReceiveBuffer, clock: Clock, options: Options) -> None:
        self._fetcher = fetcher
        self._buffer = buffer
        self._clock = clock
        self._options = options
        #: Threads that wait in a poll, or release what it has brought.
        self._number = 0

    def begin(self, buffers: Sequence[QueueBuffer], call: ReceiveCall, seconds: int) -> None:
        """Begin a long poll for each queue that has none."""
        with self._buffer.changed:
            for buffer in buffers:
                if not buffer.polling:
                    threading.Thread(
                        target=self._poll, args=(buffer, call, seconds), name="drivetrain-sqs-poll", daemon=True
                    ).start()
                    # Set after the start, which may fail. The thread cannot end before, because it needs the lock.
                    buffer.polling = True
                    self._number += 1

    def join(self, timeout_seconds: float) -> None:
        """Wait until all polls have ended and what they brought is released."""
        end = self._clock.monotonic() + timeout_seconds
        with self._buffer.changed:
            while self._number and (remaining := end - self._clock.monotonic()) > 0:
                self._clock.wait(self._buffer.changed, remaining)

    def _poll(self, buffer: QueueBuffer, call: ReceiveCall, seconds: int) -> None:
        fetched: _Fetched | None = None
        error: Exception | None = None
        try:
            fetched = self._fetcher.fetch(
                buffer, size=min(BATCH_ENTRIES, call.limit), wait_seconds=seconds, hold_seconds=call.hold_seconds
            )
        except Exception as caught:  # noqa: BLE001 - raised in the thread that is inside `receive`
            error = caught
        with self._buffer.changed:
            buffer.polling = False
            buffer.error = error
            if fetched is not None:
                self._add(buffer, fetched)
            unwanted = self._buffer.poll_ended(buffer, call)
        self._buffer.release(unwanted)
        with self._buffer.changed:
            self._number -= 1
            self._buffer.changed.notify_all()

    def _add(self, buffer: QueueBuffer, fetched: _Fetched) -> None:
        buffer.add(fetched.receipts)
        if fetched.number == BATCH_ENTRIES:  # there may be more, for several calls at once
            buffer.calls = max(buffer.calls, min(2, self._options.calls_in_flight))
        elif not fetched.number:
            buffer.empty_at = self._clock.monotonic()
