"""The broker of ``sqlite://``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from drivetrain.contract import (
    BrokerCapabilities,
    Clock,
    Delivery,
    Message,
    QueueSection,
    QueueSizes,
    Transition,
    WaitLoop,
    check_message_size,
    check_transition_sizes,
    mark_dead,
)
from drivetrain.drivers.sqlite import queries, records
from drivetrain.drivers.sqlite.codec import Row, encode_headers, message_of
from drivetrain.drivers.sqlite.connection import Database, Session
from drivetrain.drivers.sqlite.errors import LARGEST_VALUE_BYTES
from drivetrain.drivers.sqlite.file_notify import FileNotifier
from drivetrain.drivers.sqlite.options import Options
from drivetrain.drivers.sqlite.waiting import Watcher

__all__ = ["SqliteBroker"]

#: To settle a message rewrites its row. Core stores larger bodies apart.
_LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024


class SqliteBroker:
    """A broker in a file; see `drivetrain.contract.Broker`.

    A message that is released, or whose hold has ended, keeps its rank among the ready messages.

    Args:
        options: the options of its URL.
        clock: the clock by which messages become due and holds end.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BrokerCapabilities(
            durability=options.durability,
            delay_resolution_seconds=0.05,
            largest_message_bytes=_LARGEST_MESSAGE_BYTES,
            priority_levels=10,
            ordered=True,
            counts_deliveries=True,
            lists_queues=True,
            peeks=True,
            measures_age=True,
            receive_wait_seconds=0.2,
            store=options.store,
        )
        self._database = Database(options)
        self._watcher = Watcher(self._database, clock, FileNotifier(options.sibling("published")))
        self._clock = clock
        self._waits = WaitLoop(clock)
        #: The latest time at which this object has made a message ready. Used within transactions only.
        self._latest = -math.inf

    def ping(self) -> None:
        """See `Broker.ping`."""
        self.queues()

    def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        if not messages:
            return
        headers = [_encode(message) for message in messages]
        with self._database.write() as session:
            self._add(session, messages, headers)
        self._watcher.announce()

    def record_and_publish(self, sends: Sequence[tuple[Transition, Message]]) -> Sequence[bool]:
        """See `RecordingBroker.record_and_publish`."""
        if not sends:
            return []
        transitions = [transition for transition, _ in sends]
        check_transition_sizes(transitions, LARGEST_VALUE_BYTES)
        headers = [_encode(message) for _, message in sends]
        with self._database.write() as session:
            outcomes = records.record(session, transitions, self._clock.now())
            granted = [outcome.applied for outcome in outcomes]
            chosen = [position for position, applied in enumerate(granted) if applied]
            self._add(session, [sends[each][1] for each in chosen], [headers[each] for each in chosen])
        self._watcher.announce()
        return granted

    def _add(self, session: Session, messages: Sequence[Message], headers: Sequence[str]) -> None:
        numbers = {name: _number(session, name) for name in {message.queue for message in messages}}
        session.execute_many(queries.ADD, self._rows(messages, headers, numbers))

    def _rows(self, messages: Sequence[Message], headers: Sequence[str], numbers: Mapping[str, int]) -> Iterable[Row]:
        now, ready_at = self._clock.now(), self._ready_at()
        for m, text in zip(messages, headers, strict=True):
            delayed = m.eta is not None and m.eta > now
            section, at = ("delayed", m.eta) if delayed else ("ready", ready_at)
            yield numbers[m.queue], section, m.priority, at, m.eta, m.id, text, m.body

    def _ready_at(self) -> float:
        """Now, but never earlier than before: a clock that is set back must not change the order of messages."""
        self._latest = max(self._latest, self._clock.now())
        return self._latest

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        """See `Broker.receive`."""
        if limit <= 0 or not queues:
            return []
        mark, seconds_to_next = 0, 0.0

        def attempt() -> list[Delivery]:
            nonlocal mark, seconds_to_next
            mark = self._watcher.mark()
            seconds_to_next = self._seconds_to_next(queues)
            return self._take(queues, limit, hold_seconds) if seconds_to_next <= 0 else []

        def pause(seconds: float) -> None:
            if seconds_to_next > 0:  # otherwise another consumer was faster, and there may be more
                self._watcher.wait(mark, min(seconds, seconds_to_next))

        return self._waits.run(attempt, pause, timeout_seconds=wait_seconds, when_closed=self._database.close)

    def _seconds_to_next(self, queues: Sequence[str]) -> float:
        with self._database.read() as session:
            times = [self._next(session, queue) for queue in queues]
        return min(times) - self._clock.now()

    def _next(self, session: Session, queue: str) -> float:
        number = _find(session, queue)
        at = None if number is None else session.execute(queries.NEXT, {"queue": number}).fetchone()[0]
        return math.inf if at is None else float(at)

    def _take(self, queues: Sequence[str], limit: int, hold_seconds: float) -> list[Delivery]:
        taken: list[tuple[str, Row]] = []
        with self._database.write() as session:
            now = self._clock.now()
            known = {"now": now, "until": now + hold_seconds}
            for queue in queues:
                if len(taken) < limit and (number := _find(session, queue)) is not None:
                    asked = {**known, "queue": number, "limit": limit - len(taken)}
                    rows = session.execute(queries.RECEIVE, asked).fetchall()
                    taken += [(queue, row) for row in sorted(rows)]
        return [_delivery(queue, row) for queue, row in taken]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See `Broker.acknowledge`."""
        if deliveries:
            with self._database.write() as session:
                session.execute_many(queries.REMOVE, [delivery.receipt for delivery in deliveries])

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """See `Broker.release`."""
        if not deliveries:
            return
        receipts = [delivery.receipt for delivery in deliveries]
        with self._database.write() as session:
            if delay_seconds > 0:
                due = self._clock.now() + delay_seconds
                session.execute_many(queries.DELAY, [(due, *receipt) for receipt in receipts])
            else:
                session.execute_many(queries.RELEASE, receipts)
        self._watcher.announce()

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]]) -> None:
        """See `Broker.dead_letter`."""
        if deliveries:
            with self._database.write() as session:
                now = self._clock.now()
                rows = [(now, reason, *delivery.receipt) for delivery, reason in deliveries]
                session.execute_many(queries.DEAD_LETTER, rows)

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        """See `Broker.extend`."""
        if not deliveries:
            return []
        with self._database.write() as session:
            until = self._clock.now() + hold_seconds
            return [session.execute(queries.EXTEND, (until, *d.receipt)).rowcount == 1 for d in deliveries]

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        """See `Broker.sizes`."""
        with self._database.read() as session:
            return {queue: self._sizes(session, _find(session, queue)) for queue in queues}

    def _sizes(self, session: Session, number: int | None) -> QueueSizes:
        asked = {"queue": number, "now": self._clock.now()}
        found = {section: (count, int(due)) for section, count, due in session.execute(queries.COUNT, asked)}
        (ready, _), (delayed, due), (in_flight, ended), (dead, _) = (
            found.get(section, (0, 0)) for section in ("ready", "delayed", "in_flight", "dead")
        )
        since = session.execute(queries.OLDEST, asked).fetchone()[0]
        return QueueSizes(
            ready=ready + due + ended,
            delayed=delayed - due,
            in_flight=in_flight - ended,
            dead=dead,
            oldest_seconds=0.0 if since is None else max(0.0, asked["now"] - since),
        )

    def queues(self) -> Sequence[str]:
        """See `Broker.queues`."""
        with self._database.read() as session:
            return sorted(name for (name,) in session.execute(queries.QUEUES))

    def peek(self, queue: str, section: QueueSection, *, limit: int) -> Sequence[Message]:
        """See `Broker.peek`."""
        with self._database.read() as session:
            asked = {"queue": _find(session, queue), "now": self._clock.now(), "limit": max(0, limit)}
            rows = session.execute(queries.PEEK[section.value], asked).fetchall()
        return [_shown(queue, section, row) for row in sorted(rows)]

    def purge(self, queue: str, section: QueueSection) -> int:
        """See `Broker.purge`."""
        with self._database.write() as session:
            asked = {"queue": _find(session, queue), "now": self._clock.now()}
            return session.execute(queries.PURGE[section.value], asked).rowcount

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        """See `Broker.replay`."""
        with self._database.write() as session:
            before = (self._ready_at(), _find(session, queue))
            if message_ids is None:
                replayed = session.execute(queries.REPLAY, before).rowcount
            else:
                replayed = session.change_in(queries.REPLAY_SOME, list(dict.fromkeys(message_ids)), *before)
        self._watcher.announce()
        return replayed

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        """See `Broker.drop_dead_letters`."""
        with self._database.write() as session:
            return session.change_in(queries.DROP_SOME, list(dict.fromkeys(message_ids)), _find(session, queue))

    def close(self) -> None:
        """See `Broker.close`. The object may be used again afterwards."""
        self._waits.close()
        self._watcher.notify()
        self._database.close()


def _encode(message: Message) -> str:
    """The headers as they are stored.

    Raises:
        TooLarge: body and headers are too large.
    """
    headers = encode_headers(message.headers)
    if len(message.body) + len(headers) > _LARGEST_MESSAGE_BYTES:  # quick, and never too small
        check_message_size(message, _LARGEST_MESSAGE_BYTES)
    return headers


def _find(session: Session, queue: str) -> int | None:
    row = session.execute(queries.FIND_QUEUE, (queue,)).fetchone()
    return None if row is None else int(row[0])


def _number(session: Session, queue: str) -> int:
    found = _find(session, queue)
    return int(session.execute(queries.ADD_QUEUE, (queue,)).fetchone()[0]) if found is None else found


def _delivery(queue: str, row: Row) -> Delivery:
    _, _, seq, deliveries, forgiven, *fields = row
    return Delivery(
        message=message_of(queue, fields),
        receipt=(seq, deliveries),
        redelivered=deliveries > 1,
        delivery_count=deliveries - forgiven,
    )


def _shown(queue: str, section: QueueSection, row: Row) -> Message:
    _, _, _, reason, at, *fields = row
    message = message_of(queue, fields)
    return mark_dead(message, reason, at) if section is QueueSection.DEAD else message
