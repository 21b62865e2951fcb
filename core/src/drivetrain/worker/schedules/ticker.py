"""The ticker: sends the ticks that are due, and moves the cursors of their schedules.

It takes these steps, under the lock of the schedules:

1. Read the entries that are due, and decide which ticks to send.
2. Record the tasks as PENDING. A task that was recorded beyond PENDING was sent before, and is not sent again.
3. Renew the lock. If another scheduler has taken it, stop here.
4. Publish the messages.
5. Move the cursors, if nobody has changed the entries meanwhile.

A crash between 4 and 5 makes the next scheduler repeat the ticks, with the same ids. A pause between 3 and 4 makes this
one publish late: then the record of the task shows that it has run, or it has expired, and the worker drops a message
of a tick without a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from drivetrain.contract import (
    DrivetrainError,
    Failure,
    PublishFailed,
    ScheduleSpec,
    SerializationError,
    ServiceError,
    State,
    TaskRecord,
    Timetable,
    TooLarge,
    chunks,
)
from drivetrain.worker.logs import get_logger
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.schedules.decisions import DueTicks, apply_overlap, due_ticks
from drivetrain.worker.schedules.entries import next_due, remaining_runs
from drivetrain.worker.schedules.instants import jitter_seconds
from drivetrain.worker.schedules.outcomes import all_ids, judged, last_id
from drivetrain.worker.schedules.preparing import Prepared, Preparer
from drivetrain.worker.schedules.sending import FrameSender, Outgoing, TickLost, outgoing
from drivetrain.worker.schedules.state import Entry, Head
from drivetrain.worker.schedules.store import Conflict, ScheduleState, ScheduleStore
from drivetrain.worker.schedules.store_clock import StoreClock
from drivetrain.worker.schedules.tick import TickKind, tick_ids
from drivetrain.worker.schedules.tzdata import tzdata_version
from drivetrain.workflow.frames import ids

__all__ = ["BUSY_SECONDS", "Ticker"]

logger = get_logger("drivetrain.schedules")

#: When a scheduler that found the lock taken looks again, in seconds.
BUSY_SECONDS = 0.25
#: When a scheduler looks again at a schedule that it cannot tick, in seconds.
_UNABLE_SECONDS = 5.0
#: How many shards are read and written at once.
_SHARDS_AT_ONCE = 8
#: How many workflows are sent in one batch.
_BATCH = 500
#: The most unfinished ticks of a schedule that are remembered.
_MOST_UNFINISHED = 20
_MOST_PROBLEM_LENGTH = 500


class _Work:
    """One schedule that is due, on its way through a tick."""

    def __init__(self, entry: Entry, prepared: Prepared, due: DueTicks) -> None:
        self.entry = entry
        self.definition = prepared.definition
        self.workflow = prepared.workflow
        self.instants = prepared.instants
        self.due = due
        #: The ticks to send.
        self.outgoing: list[Outgoing] = []
        self.waiting = entry.waiting
        self.skipped = 0

    def candidate_ids(self) -> list[str]:
        """The ids of the first tasks of all ticks that may be sent, and of the last tasks of those that were."""
        instants = [*([] if self.entry.waiting is None else [self.entry.waiting]), *self.due.ticks]
        firsts = [tick_ids(self.entry.incarnation, instant)(self.workflow.first) for instant in instants]
        return [*firsts, *(last_id(self.entry, sent) for sent in self.entry.unfinished)]


class Ticker:
    """Sends the ticks that are due. Any number of tickers may run at once, in any process. For one thread.

    Args:
        runtime: the drivers of the app.
        sender: sends workflows.
        store: the schedules.
        timetable: makes a timetable.
        now: the time by which ticks are due, in Unix seconds; None: by the clock of the backend.

    Attributes:
        now: the same.
        lost: whether stored schedules are gone: there are none yet, or a cache has dropped them.
    """

    def __init__(
        self,
        runtime: Runtime,
        sender: FrameSender,
        store: ScheduleStore,
        timetable: Callable[[ScheduleSpec], Timetable],
        *,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._runtime = runtime
        self._sender = sender
        self.now = now or StoreClock(runtime.backend, runtime.clock).now
        self.lost = False
        self._store = store
        self._lock = self._store.lock()
        self._preparer = Preparer(self._store, timetable)

    def run_due(self) -> float | None:
        """Send what is due; when a scheduler must look again, by the same clock as `now`. None: nothing is planned.

        Raises:
            ServiceError: a service could not be reached. The next call repeats what was not done.
        """
        head = self._store.read_head()
        self.lost = head is None
        if head is None:
            return None
        now = self.now()
        shards = [number for number, due in enumerate(head.due) if due is not None and due <= now]
        if not shards:
            return _earliest(head)
        if not self._lock.acquire():
            return now + BUSY_SECONDS
        try:
            return self._run_shards(shards)
        except (Conflict, TickLost):
            return now + BUSY_SECONDS
        finally:
            with suppress(ServiceError):  # it ends by itself
                self._lock.release()

    def _run_shards(self, shards: Sequence[int]) -> float | None:
        again: float | None = None
        state = None
        for part in chunks(shards, _SHARDS_AT_ONCE):
            if state is not None:
                self._fence()
            state = self._store.read(part)
            self.lost = self.lost or bool(state.missing)
            now = self.now()
            if not self._tick(state, now):
                again = now + _UNABLE_SECONDS
            self._store.write(state)
        due = None if state is None else _earliest(state.head)
        return due if again is None or due is None else max(due, again)

    def _tick(self, state: ScheduleState, now: float) -> bool:
        """Send the due ticks of a state, and change its entries; whether this process can tick all of them."""
        entries = [entry for entry in state.entries() if entry.due is not None and entry.due <= now]
        prepared = self._preparer.prepare(entries)
        works = [
            work for entry in entries if entry.id in prepared and (work := self._work(entry, prepared[entry.id], now))
        ]
        records = self._read([task_id for work in works for task_id in work.candidate_ids()])
        for work in works:
            self._decide(work, records, now)
        refused = self._send([one for work in works for one in work.outgoing], records)
        for work in works:
            self._advance(work, refused, now)
            state.put(work.entry)
        _log_dropped(works)
        return len(works) == len(entries)

    def _work(self, entry: Entry, prepared: Prepared, now: float) -> _Work | None:
        definition = prepared.definition
        try:
            due = due_ticks(
                prepared.instants,
                cursor=entry.cursor,
                now=now - jitter_seconds(entry.id, definition.jitter),
                misfire=definition.misfire,
                catch_up=definition.catch_up,
                catch_up_limit=definition.catch_up_limit,
                remaining=remaining_runs(entry, definition),
            )
        except DrivetrainError:  # its timetable has failed; other schedules tick
            logger.exception("schedule %s cannot be ticked", entry.id)
            return None
        return _Work(entry, prepared, due)

    def _read(self, task_ids: Sequence[str]) -> dict[str, TaskRecord]:
        found: dict[str, TaskRecord] = {}
        for page in chunks(task_ids, 2 * _BATCH):
            found.update((record.task_id, record) for record in self._runtime.backend.read(page) if record is not None)
        return found

    def _decide(self, work: _Work, records: Mapping[str, TaskRecord], now: float) -> None:
        """Choose the ticks to send. An entry that pauses here keeps its cursor."""
        work.entry = judged(work.entry, work.definition, records, is_unknown=self._is_unknown, now=now)
        if work.entry.paused is not None:
            logger.warning("schedule %s is paused: %s", work.entry.id, work.entry.paused.why)
            return
        entry = work.entry
        sending = apply_overlap(
            work.definition.overlap, work.due.ticks, running=bool(entry.unfinished), waiting=entry.waiting
        )
        if sending.cancel:
            self._sender.cancel([task_id for sent in entry.unfinished for task_id in all_ids(entry, sent)])
            work.entry = replace(entry, unfinished=())
        work.waiting, work.skipped = sending.waiting, sending.skipped
        work.outgoing = [outgoing(work.entry, work.workflow, instant, TickKind.SCHEDULED) for instant in sending.send]

    def _send(self, ticks: Sequence[Outgoing], records: Mapping[str, TaskRecord]) -> dict[str, str]:
        """Send ticks, except those that were started before; why some were refused, by the id of the first task."""
        refused: dict[str, str] = {}
        for batch in chunks([one for one in ticks if _may_be_sent(records.get(one.first_id))], _BATCH):
            refused.update(self._send_batch(batch))
        return refused

    def _send_batch(self, batch: Sequence[Outgoing]) -> dict[str, str]:
        try:
            self._sender.send_frames([one.frames for one in batch], self._fence)
        except PublishFailed as error:
            return {
                one.first_id: str(error.failures[task_id])
                for one in batch
                for task_id in ids(one.frames)
                if task_id in error.failures
            }
        except DrivetrainError as error:
            if isinstance(error, ServiceError) and not isinstance(error, TooLarge):
                raise
            if len(batch) == 1:
                return {batch[0].first_id: str(error)}
            # One of them cannot be sent. It must not keep the others back.
            return {task_id: why for one in batch for task_id, why in self._send_batch([one]).items()}
        return {}

    def _fence(self) -> None:
        if not self._lock.renew():
            logger.warning("another scheduler has taken over, since this one was stopped or slow; sending nothing more")
            raise TickLost

    def _advance(self, work: _Work, refused: Mapping[str, str], now: float) -> None:
        """Move the cursor of an entry behind what was decided."""
        entry = work.entry
        if entry.paused is not None:
            return
        sent = [one.sent for one in work.outgoing if one.first_id not in refused]
        problem = next((refused[one.first_id] for one in work.outgoing if one.first_id in refused), "")
        if problem:
            logger.error("a tick of schedule %s could not be sent, and is dropped: %s", entry.id, problem)
        entry = replace(
            entry,
            cursor=max(entry.cursor, work.due.cursor),
            sent=entry.sent + len(sent),
            dropped=entry.dropped + work.due.dropped + len(work.outgoing) - len(sent),
            skipped=entry.skipped + work.skipped,
            last=sent[-1].instant if sent else entry.last,
            last_sent=now if sent else entry.last_sent,
            unfinished=(*entry.unfinished, *sent)[-_MOST_UNFINISHED:],
            waiting=work.waiting,
            problem=problem[:_MOST_PROBLEM_LENGTH],
            tzdata=tzdata_version(),
        )
        try:
            due = next_due(entry, work.definition, work.instants, now=now)
        except DrivetrainError:  # its timetable worked a moment ago
            logger.exception("schedule %s cannot be ticked", entry.id)
            due = now + _UNABLE_SECONDS
        work.entry = replace(entry, due=due)

    def _is_unknown(self, record: TaskRecord) -> bool:
        runtime = self._runtime
        if record.payload is None or record.state is not State.FAILURE:
            return False
        try:
            failure: Failure = runtime.registry.codec.decode(runtime.payloads.load(record.payload), Failure)
        except (SerializationError, ValueError):
            return False
        return failure.type.endswith(".UnknownTask")


def _log_dropped(works: Sequence[_Work]) -> None:
    """Log what is dropped, in one line: after an outage, many schedules drop ticks."""
    dropped = {work.entry.id: work.due.dropped for work in works if work.due.dropped and work.entry.paused is None}
    if dropped:
        names = ", ".join(list(dropped)[:5]) + (", …" if len(dropped) > 5 else "")
        logger.warning("dropped %d ticks that would be too late, of %s", sum(dropped.values()), names)


def _earliest(head: Head) -> float | None:
    return min((due for due in head.due if due is not None), default=None)


def _may_be_sent(record: TaskRecord | None) -> bool:
    """Whether the first task of a tick has not been started; its workflow may have been sent, and may be again."""
    return record is None or record.state is State.PENDING
