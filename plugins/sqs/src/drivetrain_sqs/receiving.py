"""Receiving: from several queues in order, waiting in long polls, without a call too many.

While messages come, queues are asked one after the other, and each as often at once as it has shown to be worth it.
When there is nothing, one long poll for each queue waits in a thread of its own. It may outlast the `receive` that has
begun it: the next one finds it waiting. What it brings when nobody asks any more is kept a moment, and then given back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

from drivetrain.contract import Clock, Delivery, ServiceError
from drivetrain_sqs.fetching import Fetcher
from drivetrain_sqs.limits import BATCH_ENTRIES
from drivetrain_sqs.names import Role
from drivetrain_sqs.opening import Opener
from drivetrain_sqs.options import Options
from drivetrain_sqs.polling import Polls, poll_seconds
from drivetrain_sqs.queues import Queues
from drivetrain_sqs.receipts import Receipt
from drivetrain_sqs.service import Service
from drivetrain_sqs.settling import Settler
from drivetrain_sqs.source import Source
from drivetrain_sqs.waiting import Call, Waiting

__all__ = ["Receiver"]

logger = logging.getLogger("drivetrain.sqs")

#: How often a queue is asked where the time that is left is too short for a long poll, in seconds.
_PACE_SECONDS = 0.1
#: Who asks again after a longer pause has begun anew, in seconds.
_PAUSE_SECONDS = 1.0
#: How long after a receive that came back empty its polls are proof that queues are, in seconds.
_NEWS_SECONDS = 0.5
#: How often a queue is told of that fails while others do not, in seconds.
_TELLING_SECONDS = 10.0
_NEVER = (math.inf, -math.inf)


class Receiver:
    """Receives. One thread at a time is inside `receive`; `close` may come from another one."""

    def __init__(
        self, *, service: Service, queues: Queues, opener: Opener, settler: Settler, clock: Clock, options: Options
    ) -> None:
        self._service = service
        self._queues = queues
        self._fetcher = Fetcher(service, queues, opener, clock)
        self._clock = clock
        self._options = options
        self._waiting = Waiting(settler, clock)
        self._polls = Polls(self._fetcher, self._waiting, clock, options)
        #: When the last receive began and ended, if it came back empty; monotonic seconds, as all that follows.
        self._last_empty = _NEVER
        #: Since when, and until when, `receive` was called with no pause between.
        self._asked = _NEVER
        #: When a queue that failed beside others was last told of.
        self._told_at = -math.inf

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []
        began = self._clock.monotonic()
        since = self._asked[0] if began - self._asked[1] <= _PAUSE_SECONDS else began
        with self._waiting.changed:
            call = Call(limit, hold_seconds, began + wait_seconds, since, self._waiting.closings)
            self._waiting.begin()
        try:
            taken = self._receive(queues, call)
            self._last_empty = _NEVER if taken else (began, self._clock.monotonic())
            return taken
        finally:
            self._asked = _NEVER if self._waiting.is_closed(call) else (since, self._clock.monotonic())
            with self._waiting.changed:
                self._waiting.end()

    def forget_waiting(self, queue: str) -> list[Receipt]:
        """Take what is in this process of a queue and was not handed out yet; it is still hidden from others."""
        return self._waiting.take(queue)

    def close(self) -> None:
        """Wake a `receive` that waits, and give back what was not handed out.

        Polls that wait cannot be called back. What they bring is given back as long as this process lives, so they are
        waited for as long as the URL says (``close_seconds``).
        """
        self._waiting.close()
        self._polls.join(self._options.close_seconds)

    # One call

    def _receive(self, queues: Sequence[str], call: Call) -> list[Delivery]:
        sources, later, errors = self._reach(queues)
        self._polls.begin(later, call, max(1, self._poll_seconds(call)))
        if errors or not self._polls_first(sources, call):
            taken = self._sweep(sources, call, errors)
        else:
            taken = self._waiting.hand_out(sources, call, call.limit)
        while not taken and self._goes_on(call):
            seconds = self._poll_seconds(call)
            self._polls.begin(later, call, max(1, seconds))
            self._polls.begin(sources if seconds else (), call, seconds)
            self._wait([*sources, *later], call, seconds)
            if self._waiting.is_closed(call):
                break
            if seconds:
                taken = self._waiting.hand_out(sources, call, call.limit)
            else:
                taken = self._sweep(sources, call, [], anew=True)
            if not taken:
                self._raise_error([*sources, *later])
                self._waiting.put_off(sources, call.limit)
        return taken

    def _reach(self, queues: Sequence[str]) -> tuple[list[Source], list[Source], list[ServiceError]]:
        """The queues, those for what is later, and what is wrong with others."""
        roles = (Role.MAIN, Role.LATER) if self._options.fifo else (Role.MAIN,)
        reached: dict[Role, list[Source]] = {Role.MAIN: [], Role.LATER: []}
        errors: list[ServiceError] = []
        for queue in dict.fromkeys(queues):
            try:
                places = [(role, self._queues.find_to_receive(queue, role)) for role in roles]
            except ServiceError as error:
                errors.append(error)
                continue
            for role, where in places:
                reached[role].append(self._waiting.source(queue, role, where))
        return reached[Role.MAIN], reached[Role.LATER], errors

    def _polls_first(self, sources: Sequence[Source], call: Call) -> bool:
        """Whether a queue that is alone, and has not much to give, need not be asked before it is waited on.

        A long poll brings what there is at once, too, and looks at all of SQS's servers, which a short one does not.
        """
        return len(sources) == 1 and sources[0].calls == 1 and self._poll_seconds(call) > 0

    def _poll_seconds(self, call: Call) -> int:
        return poll_seconds(call, self._clock.monotonic(), self._options.wait_seconds)

    def _goes_on(self, call: Call) -> bool:
        return self._clock.monotonic() < call.deadline and not self._waiting.is_closed(call)

    def _wait(self, sources: Sequence[Source], call: Call, seconds: int) -> None:
        with self._waiting.changed:
            now = self._clock.now()
            if self._waiting.is_closed(call) or any(source.error or source.is_due(now) for source in sources):
                return
            if seconds and not all(source.polling for source in sources):
                return  # one came back meanwhile: look what it brought, and begin another
            left = call.deadline - self._clock.monotonic()
            next_due = min(source.next_due() for source in sources) - now
            pause = max(0.0, min(left, next_due, math.inf if seconds else _PACE_SECONDS))
            self._clock.wait(self._waiting.changed, pause)

    def _raise_error(self, sources: Sequence[Source]) -> None:
        with self._waiting.changed:
            errors = [source.error for source in sources if source.error is not None]
            for source in sources:
                source.error = None
        if errors:
            raise errors[0]

    # Asking without waiting

    def _sweep(
        self, sources: Sequence[Source], call: Call, errors: list[ServiceError], *, anew: bool = False
    ) -> list[Delivery]:
        """Ask queues in their order until the limit is reached, but for those that are known to be empty.

        A queue that fails keeps no other waiting: it is told of when there is nothing else, or else in the log.
        """
        taken: list[Delivery] = []
        for source in sources:
            try:
                taken += self._drain(source, call, call.limit - len(taken), anew=anew)
            except ServiceError as error:
                errors.append(error)
            if len(taken) >= call.limit:
                break
        if errors and not taken:
            raise errors[0]
        if errors:
            self._tell(errors)
        return taken

    def _tell(self, errors: Sequence[ServiceError]) -> None:
        now = self._clock.monotonic()
        if now - self._told_at >= _TELLING_SECONDS:
            self._told_at = now
            logger.warning("received from other queues, but not from all: %s", "; ".join(map(str, errors)))

    def _drain(self, source: Source, call: Call, room: int, *, anew: bool) -> list[Delivery]:
        taken = self._waiting.hand_out([source], call, room)
        if not anew and self._is_known_empty(source):
            return taken
        more = True
        while more and len(taken) < room and len(source) < room + BATCH_ENTRIES:
            try:
                more = self._ask(source, call, room - len(taken))
            except ServiceError:
                if not taken:
                    raise
                break  # what is in hand must not be lost; the next call will say what is wrong
            taken += self._waiting.hand_out([source], call, room - len(taken))
        return taken

    def _is_known_empty(self, source: Source) -> bool:
        began, ended = self._last_empty
        return source.polling or (source.empty_at >= began and self._clock.monotonic() - ended < _NEWS_SECONDS)

    def _ask(self, source: Source, call: Call, room: int) -> bool:
        """Receive up to ``room`` into ``source``, in several calls at once; whether there may be more."""
        number = min(math.ceil(room / BATCH_ENTRIES), source.calls)
        wanted = min(room, number * BATCH_ENTRIES)
        sizes = [min(BATCH_ENTRIES, wanted - start) for start in range(0, wanted, BATCH_ENTRIES)]
        calls: list[Callable[[], int]] = [partial(self._fetch, source, call, size) for size in sizes]
        outcomes = self._service.together(calls)
        came = sum(each for each in outcomes if not isinstance(each, ServiceError))
        errors = [each for each in outcomes if isinstance(each, ServiceError)]
        if errors and not came:
            raise errors[0]
        # As many calls at once as bring full batches: twice as many next time, or half.
        source.calls = min(2 * number, self._options.calls_in_flight) if came == wanted else max(1, number // 2)
        return came == wanted

    def _fetch(self, source: Source, call: Call, size: int) -> int:
        """Receive up to ten into ``source``; how many came."""
        fetched = self._fetcher.fetch(source, size=size, wait_seconds=0, hold_seconds=call.hold_seconds)
        with self._waiting.changed:
            source.add(fetched.receipts)
        return fetched.number
