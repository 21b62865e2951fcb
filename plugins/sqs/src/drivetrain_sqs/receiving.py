"""Receiving: from several queues in order, waiting in long polls, without a call too many.

While messages come, queues are asked one after the other, and each as often at once as it has shown to be worth it.
When there is nothing, one long poll for each queue waits in a thread of its own. What such a poll brings when nobody
asks any more is kept a moment for the next `receive`, and then given back.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial

from attrs import frozen

from drivetrain.contract import Clock, Delivery, ServiceError
from drivetrain_sqs.fetching import Fetcher
from drivetrain_sqs.limits import BATCH_ENTRIES
from drivetrain_sqs.names import Role
from drivetrain_sqs.opening import Opener
from drivetrain_sqs.options import Options
from drivetrain_sqs.queues import Queues
from drivetrain_sqs.receipts import Receipt
from drivetrain_sqs.service import Service
from drivetrain_sqs.settling import Settler
from drivetrain_sqs.source import Source

__all__ = ["Receiver"]

logger = logging.getLogger("drivetrain.sqs")

#: How often a queue is asked where the time that is left is too short for a long poll, in seconds.
_PACE_SECONDS = 0.1
#: A poll may end so much later than the receive that has begun it, for whole seconds rarely fit: little after a short
#: wait, and up to a second after a long one, whose caller will ask again at once and find the poll still waiting.
_OVERTIME_SECONDS, _LONG_OVERTIME_SECONDS = 0.1, 0.999
_LONG_WAIT_SECONDS = 5.0
#: How long after a receive that came back empty its polls are proof that queues are, in seconds.
_NEWS_SECONDS = 0.5
#: How long what nobody asks for is kept, in seconds.
_LINGER_SECONDS = 1.0


@frozen
class _Call:
    """One call of `receive`."""

    limit: int
    hold_seconds: float
    #: Monotonic seconds.
    deadline: float
    #: How much later than that its polls may end.
    overtime_seconds: float
    closings: int


class Receiver:
    """Receives. One thread at a time is inside `receive`; `close` may come from another one."""

    def __init__(
        self, *, service: Service, queues: Queues, opener: Opener, settler: Settler, clock: Clock, options: Options
    ) -> None:
        self._service = service
        self._queues = queues
        self._fetcher = Fetcher(service, queues, opener, clock)
        self._settler = settler
        self._clock = clock
        self._options = options
        #: Held for all that follows, and for what is in sources; never during a call to the service.
        self._changed = threading.Condition()
        self._sources: dict[tuple[str, Role], Source] = {}
        self._closings = 0
        self._receiving = False
        self._kept_since = 0.0
        self._keeping = False
        #: When the last receive began and ended, if it came back empty; monotonic seconds.
        self._last_empty = (math.inf, -math.inf)

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []
        with self._changed:
            deadline = self._clock.monotonic() + wait_seconds
            overtime = _LONG_OVERTIME_SECONDS if wait_seconds >= _LONG_WAIT_SECONDS else _OVERTIME_SECONDS
            call = _Call(limit, hold_seconds, deadline, overtime, self._closings)
            self._receiving = True
        try:
            began = self._clock.monotonic()
            taken = self._receive(queues, call)
            self._last_empty = (math.inf, -math.inf) if taken else (began, self._clock.monotonic())
            return taken
        finally:
            with self._changed:
                self._receiving = False
                self._keep()

    def forget_waiting(self, queue: str) -> list[Receipt]:
        """Take what is in this process of a queue and was not handed out yet; it is still hidden from others."""
        with self._changed:
            found = [source for (name, _), source in self._sources.items() if name == queue]
            return [receipt for source in found for receipt in source.take_all()]

    def close(self) -> None:
        """Wake a `receive` that waits, and give back what was not handed out."""
        with self._changed:
            self._closings += 1
            left = [receipt for source in self._sources.values() for receipt in source.take_all()]
            self._changed.notify_all()
        self._give_back(left)

    # One call

    def _receive(self, queues: Sequence[str], call: _Call) -> list[Delivery]:
        sources, later = self._reach(queues)
        self._begin_polls(later, call, max(1, self._poll_seconds(call)))
        taken = self._sweep(sources, call)
        while not taken and self._goes_on(call):
            seconds = self._poll_seconds(call)
            self._begin_polls(later, call, max(1, seconds))
            self._begin_polls(sources if seconds else (), call, seconds)
            self._wait([*sources, *later], call, seconds)
            if self._is_closed(call):
                break
            taken = self._hand_out(sources, call, call.limit) if seconds else self._sweep(sources, call, anew=True)
            if not taken:
                self._raise_error([*sources, *later])
        return taken

    def _reach(self, queues: Sequence[str]) -> tuple[list[Source], list[Source]]:
        roles = (Role.MAIN, Role.LATER) if self._options.fifo else (Role.MAIN,)
        reached: dict[Role, list[Source]] = {Role.MAIN: [], Role.LATER: []}
        for queue in dict.fromkeys(queues):
            for role in roles:
                where = self._queues.find(queue, role)
                with self._changed:
                    source = self._sources.setdefault((queue, role), Source(queue, role, where))
                    source.where, source.error = where, None
                reached[role].append(source)
        return reached[Role.MAIN], reached[Role.LATER]

    def _goes_on(self, call: _Call) -> bool:
        return self._clock.monotonic() < call.deadline and not self._is_closed(call)

    def _is_closed(self, call: _Call) -> bool:
        return self._closings != call.closings

    def _poll_seconds(self, call: _Call) -> int:
        left = call.deadline - self._clock.monotonic() + call.overtime_seconds
        return int(max(0.0, min(left, float(self._options.wait_seconds))))

    def _wait(self, sources: Sequence[Source], call: _Call, seconds: int) -> None:
        with self._changed:
            now = self._clock.now()
            if self._is_closed(call) or any(source.error or source.is_due(now) for source in sources):
                return
            if seconds and not all(source.polling for source in sources):
                return  # one came back meanwhile: look what it brought, and begin another
            left = call.deadline - self._clock.monotonic()
            next_due = min(source.next_due() for source in sources) - now
            self._clock.wait(self._changed, max(0.0, min(left, next_due, math.inf if seconds else _PACE_SECONDS)))

    def _raise_error(self, sources: Sequence[Source]) -> None:
        with self._changed:
            errors = [source.error for source in sources if source.error is not None]
            for source in sources:
                source.error = None
        if errors:
            raise errors[0]

    # Asking without waiting

    def _sweep(self, sources: Sequence[Source], call: _Call, *, anew: bool = False) -> list[Delivery]:
        """Ask queues in their order until the limit is reached, but for those that are known to be empty."""
        taken: list[Delivery] = []
        for source in sources:
            try:
                taken += self._drain(source, call, call.limit - len(taken), anew=anew)
            except ServiceError:
                if not taken:
                    raise
                break  # what is in hand must not be lost; the next call will say what is wrong
            if len(taken) >= call.limit:
                break
        return taken

    def _drain(self, source: Source, call: _Call, room: int, *, anew: bool) -> list[Delivery]:
        taken = self._hand_out([source], call, room)
        if not anew and self._is_known_empty(source):
            return taken
        more = True
        while more and len(taken) < room and len(source) < room + BATCH_ENTRIES:
            more = self._ask(source, call, room - len(taken))
            taken += self._hand_out([source], call, room - len(taken))
        return taken

    def _is_known_empty(self, source: Source) -> bool:
        began, ended = self._last_empty
        return source.polling or (source.empty_at >= began and self._clock.monotonic() - ended < _NEWS_SECONDS)

    def _ask(self, source: Source, call: _Call, room: int) -> bool:
        """Receive up to ``room`` into ``source``, in several calls at once; whether there may be more."""
        number = min(math.ceil(room / BATCH_ENTRIES), source.calls)
        wanted = min(room, number * BATCH_ENTRIES)
        sizes = [min(BATCH_ENTRIES, wanted - start) for start in range(0, wanted, BATCH_ENTRIES)]
        calls: list[Callable[[], int]] = [partial(self._fetch, source, call, size, 0) for size in sizes]
        outcomes = self._service.together(calls)
        came = sum(each for each in outcomes if not isinstance(each, ServiceError))
        errors = [each for each in outcomes if isinstance(each, ServiceError)]
        if errors and not came:
            raise errors[0]
        # As many calls at once as bring full batches: twice as many next time, or half.
        source.calls = min(2 * number, self._options.calls_in_flight) if came == wanted else max(1, number // 2)
        return came == wanted

    def _fetch(self, source: Source, call: _Call, size: int, wait_seconds: int) -> int:
        """Receive up to ten into ``source``; how many came."""
        fetched = self._fetcher.fetch(source, size=size, wait_seconds=wait_seconds, hold_seconds=call.hold_seconds)
        with self._changed:
            source.add(fetched.receipts)
        return fetched.number

    # Waiting in the background

    def _begin_polls(self, sources: Sequence[Source], call: _Call, seconds: int) -> None:
        """Let a long poll wait for each, where none does."""
        with self._changed:
            idle = [source for source in sources if not source.polling]
            for source in idle:
                source.polling = True
        for source in idle:
            threading.Thread(
                target=self._poll, args=(source, call, seconds), name="drivetrain-sqs-poll", daemon=True
            ).start()

    def _poll(self, source: Source, call: _Call, seconds: int) -> None:
        error: Exception | None = None
        came = 0
        try:
            came = self._fetch(source, call, min(BATCH_ENTRIES, call.limit), seconds)
        except Exception as caught:  # noqa: BLE001 - raised in the thread that is inside `receive`
            error = caught
        with self._changed:
            source.polling = False
            source.error = error
            if not came and error is None:
                source.empty_at = self._clock.monotonic()
            left = source.take_all() if self._is_closed(call) and not self._receiving else []
            self._keep()
            self._changed.notify_all()
        self._give_back(left)

    # Handing out

    def _hand_out(self, sources: Sequence[Source], call: _Call, room: int) -> list[Delivery]:
        """What is due and surely held, in the order of ``sources``."""
        now, instant = self._clock.now(), self._clock.monotonic()
        with self._changed:
            found: list[Receipt] = []
            for source in sources:
                found += source.take_due(now, room - len(found))
        receipts = [receipt for receipt in found if receipt.open(instant)]
        # What has waited here is held for the rest of its time only.
        short = [receipt for receipt in receipts if receipt.sure_until - instant < call.hold_seconds]
        self._prolong(short, call.hold_seconds)
        return [_delivery(receipt) for receipt in receipts if receipt.open(instant)]

    def _prolong(self, receipts: Sequence[Receipt], hold_seconds: float) -> None:
        try:
            if receipts:
                self._settler.extend(receipts, hold_seconds)
        except ServiceError as error:
            logger.debug("not held longer, and left to come again: %s", error)
            for receipt in receipts:
                receipt.settled = True

    def _keep(self) -> None:
        """See to it that what nobody asks for is given back. The condition is held."""
        self._kept_since = self._clock.monotonic()
        if not self._keeping and not self._receiving and any(map(len, self._sources.values())):
            self._keeping = True
            threading.Thread(target=self._give_back_later, name="drivetrain-sqs-keep", daemon=True).start()

    def _give_back_later(self) -> None:
        with self._changed:
            while not self._receiving and any(map(len, self._sources.values())):
                left = self._kept_since + _LINGER_SECONDS - self._clock.monotonic()
                if left <= 0:
                    break
                self._clock.wait(self._changed, left)
            idle = not self._receiving
            kept = [receipt for source in self._sources.values() for receipt in source.take_all()] if idle else []
            self._keeping = False
        self._give_back(kept)

    def _give_back(self, receipts: Sequence[Receipt]) -> None:
        now, instant = self._clock.now(), self._clock.monotonic()
        try:
            self._settler.hide([(each, each.seconds_to_due(now)) for each in receipts if each.open(instant)])
        except ServiceError as error:
            logger.debug("%d messages come again when their hold ends: %s", len(receipts), error)


def _delivery(receipt: Receipt) -> Delivery:
    return Delivery(
        message=receipt.envelope.message,
        receipt=receipt,
        redelivered=receipt.count > 1 or receipt.envelope.replayed,
        delivery_count=receipt.count,
    )
