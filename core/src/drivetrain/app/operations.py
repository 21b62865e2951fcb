"""What an operator does: look into queues, purge them, see to dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.rescue import DEFAULT_OVERDUE_SECONDS, RescueReport, end_tasks, rescue
from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    Message,
    QueueSection,
    QueueSizes,
    SerializationError,
    TaskRecord,
)
from drivetrain.worker.listing import unfinished_tasks
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import BODY_HEADER, due
from drivetrain.workflow.frames import Invocation
from drivetrain.workflow.wire import load_invocation

if TYPE_CHECKING:
    from drivetrain.app.application import App

__all__ = ["Operations", "QueuedTask"]

#: How many messages are looked at in one call.
_PAGE = 1000


@frozen(kw_only=True)
class QueuedTask:
    """A message in a queue, as an operator sees it."""

    task_id: str
    #: The name of the task; empty if the message cannot be read.
    task: str
    queue: str
    attempt: int = 0
    #: The arguments, plain. Not shown by ``repr``, which ends up in logs.
    args: Sequence[Any] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(factory=dict, repr=False)
    eta: datetime | None = None
    #: For a dead letter: why and when it was put aside.
    reason: str | None = None
    died_at: datetime | None = None


class Operations:
    """Queues and dead letters of an app. Thread-safe."""

    def __init__(self, app: App) -> None:
        self._app = app

    def queues(self) -> list[str]:
        """The queues that the broker knows of, and those that the app's settings and tasks name; sorted."""
        runtime = self._app.runtime
        named = {definition.defaults.queue for definition in runtime.registry.values()}
        return sorted({*runtime.broker.queues(), *named, *self._app.settings.served_queues})

    def sizes(self, queues: Sequence[str] | None = None) -> Mapping[str, QueueSizes]:
        """How many messages lie in each queue; None: in all that are known."""
        return self._app.runtime.broker.sizes(self.queues() if queues is None else queues)

    def tasks(self, queue: str, place: QueueSection, *, limit: int = 100) -> list[QueuedTask]:
        """Up to ``limit`` messages that lie there, in the order in which they will be delivered."""
        return [self._queued(message) for message in self._app.runtime.broker.peek(queue, place, limit=limit)]

    def unfinished(self, *, limit: int = 100) -> Sequence[TaskRecord]:
        """Up to ``limit`` tasks that have not ended, where the backend can list them."""
        return list(islice(unfinished_tasks(self._app.runtime.backend, page=limit), limit))

    def rescue(self, *, overdue_seconds: float | None = None, dry_run: bool = False) -> RescueReport:
        """Look for tasks whose message is gone, and end them as lost; workers do the same by themselves.

        It looks several times, and waits for minutes between the looks if there is any doubt.

        Args:
            overdue_seconds: for how long tasks must be due; None: as the setting ``rescue_after_seconds`` says.
            dry_run: end nothing.

        Raises:
            NotSupported: the backend cannot list tasks.
        """
        if overdue_seconds is None:
            overdue_seconds = self._app.settings.rescue_after_seconds or DEFAULT_OVERDUE_SECONDS
        return rescue(self._app, overdue_seconds=overdue_seconds, dry_run=dry_run)

    def end_lost(self, *task_ids: str) -> RescueReport:
        """End unfinished tasks of which you know that their message is gone; see `drivetrain.app.rescue.end_tasks`."""
        return end_tasks(self._app, task_ids)

    def purge(self, queue: str) -> int:
        """Cancel the tasks that wait in ``queue``, delayed ones included, and drop their messages; how many.

        Whoever waits for them is told at once. Tasks that run now are not touched, nor are dead letters.
        """
        dropped = 0
        broker = self._app.runtime.broker
        for place in (QueueSection.READY, QueueSection.DELAYED):
            messages = self._cancel_all(queue, place) if broker.capabilities.peeks else ()
            dropped += broker.purge(queue, place)
            self._drop_bodies(messages)
        return dropped

    def dead_letters(self, queue: str, where: DeadLetterFilter | None = None, *, limit: int = 100) -> list[QueuedTask]:
        """Up to ``limit`` dead letters of ``queue``, oldest first: all, or those that ``where`` chooses."""
        if where is None:
            return self.tasks(queue, QueueSection.DEAD, limit=limit)
        return [letter for _, letter in self._chosen(queue, where, set())][:limit]

    def replay(self, queue: str, where: DeadLetterFilter | None = None) -> int:
        """Let dead letters of ``queue`` be run again, as if they were sent now; how many.

        Args:
            queue: whose dead letters.
            where: which ones; None: all.

        What waited for them waits again, up to a group that has failed meanwhile, which stays failed.
        """
        return self._for_each_page(queue, where or DeadLetterFilter(), self._replay)

    def drop_dead_letters(self, queue: str, where: DeadLetterFilter | None = None) -> int:
        """Drop dead letters of ``queue`` for good; how many.

        Args:
            queue: whose dead letters.
            where: which ones; None: all.
        """
        if where is not None:
            return self._for_each_page(queue, where, self._drop)
        letters = self._all(queue, QueueSection.DEAD)
        dropped = self._app.runtime.broker.purge(queue, QueueSection.DEAD)
        self._drop_bodies(letters)
        return dropped

    def _for_each_page(self, queue: str, where: DeadLetterFilter, do: Callable[[str, Sequence[Message]], int]) -> int:
        """Do something with the chosen dead letters; the sum of what it counts.

        Page by page, for a broker may show some of very many only. One that dies again meanwhile has had its turn.
        """
        counted, seen = 0, set[str]()
        while messages := [message for message, _ in self._chosen(queue, where, seen)]:
            seen.update(message.id for message in messages)
            counted += do(queue, messages)
        return counted

    def _replay(self, queue: str, messages: Sequence[Message]) -> int:
        for message in messages:
            self._revive(message)
        # By name: one that has come since then is not reset, so replaying it would come to nothing.
        return self._app.runtime.broker.replay(queue, [message.id for message in messages])

    def _drop(self, queue: str, messages: Sequence[Message]) -> int:
        dropped = self._app.runtime.broker.drop_dead_letters(queue, [message.id for message in messages])
        self._drop_bodies(messages)
        return dropped

    def _chosen(self, queue: str, where: DeadLetterFilter, seen: AbstractSet[str]) -> list[tuple[Message, QueuedTask]]:
        letters = [(one, self._queued(one)) for one in self._all(queue, QueueSection.DEAD) if one.id not in seen]
        return [(message, letter) for message, letter in letters if where.matches(letter)]

    def _cancel_all(self, queue: str, place: QueueSection) -> Sequence[Message]:
        messages = self._all(queue, place)
        known = self._app.runtime.backend.read([message.id for message in messages])
        self._app.cancel(*(record.task_id for record in known if record is not None))
        return messages

    def _all(self, queue: str, place: QueueSection) -> Sequence[Message]:
        """All messages that lie there. Not asked for by their number, which not every broker knows."""
        limit = _PAGE
        while len(messages := self._app.runtime.broker.peek(queue, place, limit=limit)) >= limit:
            limit *= 4
        return messages

    def _drop_bodies(self, messages: Sequence[Message]) -> None:
        keys = [key for message in messages if (key := message.headers.get(BODY_HEADER)) is not None]
        self._app.runtime.backend.drop_bodies(keys)

    def _revive(self, message: Message) -> None:
        try:
            invocation = self._read(message)
        except SerializationError:
            return  # still unreadable, perhaps not for the worker that gets it next
        self._app.reset_for_replay(invocation)

    def _queued(self, message: Message) -> QueuedTask:
        died_at, reason = message.headers.get(DEAD_AT_HEADER), message.headers.get(DEAD_REASON_HEADER)
        told = QueuedTask(
            task_id=message.id,
            task="",
            queue=message.queue,
            eta=_eta(message),
            reason=reason,
            died_at=_time(None if died_at is None else float(died_at)),
        )
        try:
            return self._with_call(told, self._read(message))
        except SerializationError:
            return told

    def _with_call(self, told: QueuedTask, invocation: Invocation) -> QueuedTask:
        call = invocation.call
        return QueuedTask(
            task_id=told.task_id,
            task=call.task,
            queue=told.queue,
            attempt=invocation.attempt,
            args=call.args,
            kwargs=call.kwargs,
            eta=told.eta,
            reason=told.reason,
            died_at=told.died_at,
        )

    def _read(self, message: Message) -> Invocation:
        runtime, key = self._app.runtime, message.headers.get(BODY_HEADER)
        body = message.body if key is None else runtime.backend.load_bodies([key])[0]
        if body is None:
            raise SerializationError(f"the body of message {message.id} is no longer kept in the backend")
        return load_invocation(runtime.payloads.load_body(message.headers.get(CONTENT_TYPE_HEADER), body))


def _eta(message: Message) -> datetime | None:
    try:
        return _time(due(message))
    except SerializationError:  # such a message is put aside, and must still be listed
        return None


def _time(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # beyond what a datetime can say
        return None
