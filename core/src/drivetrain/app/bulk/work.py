"""The work of an operation: which tasks come next, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from drivetrain.app.bulk.cancel import cancel_tasks
from drivetrain.app.bulk.letters import DeadLetters
from drivetrain.app.bulk.messages import MessageSearch
from drivetrain.app.bulk.operation_record import Action, Target
from drivetrain.app.bulk.outcomes import TaskOutcome, Verdict, done, skipped
from drivetrain.app.bulk.retry import TaskReviver
from drivetrain.app.bulk.run_now import DelayEnder
from drivetrain.app.bulk.selections import PAGE, Count, Selection
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.sending import Sender
from drivetrain.contract import Message, State, TaskRecord
from drivetrain.worker.runtime import Runtime

__all__ = ["LetterWork", "TaskWork", "Work", "WorkPage"]


@frozen
class WorkPage:
    """The next tasks. Immutable."""

    targets: tuple[Target, ...]
    #: Where the next page begins; None: this is the last one.
    cursor: str | None


class Work(Protocol):
    """Which tasks come next, and what is done with them. Used by one thread. All methods may raise ServiceError."""

    def total(self) -> Count:
        """How many tasks are chosen."""
        ...

    def page(self, cursor: str) -> WorkPage:
        """The tasks from ``cursor`` on; empty: from the first one."""
        ...

    def act(self, targets: Sequence[Target], *, again: bool) -> list[TaskOutcome]:
        """Act on tasks; the outcome of each.

        Args:
            targets: the tasks of one page.
            again: whether a process that has died may have acted on them.
        """
        ...


class TaskWork:
    """Cancels, retries or runs now the tasks of a selection."""

    def __init__(
        self, runtime: Runtime, sender: Sender, action: Action, selection: Selection, messages: MessageSearch
    ) -> None:
        self._runtime = runtime
        self._action = action
        self._selection = selection
        self._do: Callable[[Sequence[str]], list[TaskOutcome]] = {
            Action.RETRY: TaskReviver(runtime, sender, messages).retry,
            Action.RUN_NOW: DelayEnder(runtime, sender, messages).run_now,
        }.get(action, lambda ids: cancel_tasks(runtime.backend, sender, ids))

    def total(self) -> Count:
        """See `Work.total`."""
        return self._selection.total()

    def page(self, cursor: str) -> WorkPage:
        """See `Work.page`."""
        ids, following = self._selection.ids(cursor)
        attempts = {one.task_id: one.attempt for one in self._read(ids) if one is not None}
        return WorkPage(tuple(Target(one, attempts.get(one, -1)) for one in ids), following)

    def act(self, targets: Sequence[Target], *, again: bool) -> list[TaskOutcome]:
        """See `Work.act`."""
        begun = self._begun(targets) if again else {}
        # One that waits is acted on once more: its message may be missing. To send it twice is harmless.
        ids = [one.id for one in targets if begun.get(one.id, State.PENDING) is State.PENDING]
        outcomes = {one.task_id: one for one in self._do(ids)}
        return [
            done(one.id) if one.id in begun and _is_skipped(outcomes.get(one.id)) else outcomes[one.id]
            for one in targets
        ]

    def _begun(self, targets: Sequence[Target]) -> Mapping[str, State]:
        """The tasks on which a process that has died has begun to act, each with its state."""
        records = self._read([one.id for one in targets])
        return {
            one.id: record.state
            for one, record in zip(targets, records, strict=True)
            if record is not None and self._has_begun(one, record)
        }

    def _has_begun(self, target: Target, record: TaskRecord) -> bool:
        if self._action is Action.RETRY:
            return record.attempt > target.attempt >= 0
        if self._action is Action.RUN_NOW:
            return record.state not in {State.PENDING, State.RETRY}
        return False  # to cancel twice is harmless, and finds what the first time has left out

    def _read(self, ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        return self._runtime.backend.read(ids) if ids else ()


def _is_skipped(outcome: TaskOutcome | None) -> bool:
    return outcome is None or outcome.verdict is Verdict.SKIPPED


class LetterWork:
    """Replays or drops dead letters of a queue that were dead when the operation was asked for."""

    def __init__(self, runtime: Runtime, sender: Sender, action: Action, queue: str, where: DeadLetterFilter) -> None:
        self._letters = DeadLetters(runtime, sender)
        self._do = self._letters.replay if action is Action.REPLAY else self._letters.drop
        self._queue = queue
        self._where = where
        self._seen: set[str] = set()
        self._listed: dict[str, Message] = {}

    def total(self) -> Count:
        """See `Work.total`."""
        return Count(len(list(self._letters.chosen(self._queue, self._where))))

    def page(self, cursor: str) -> WorkPage:  # noqa: ARG002 - a letter that was replayed or dropped is not there any more
        """See `Work.page`."""
        if not self._listed:
            self._list()
        ids = list(self._listed)[:PAGE]
        return WorkPage(tuple(Target(one) for one in ids), "" if ids else None)

    def act(self, targets: Sequence[Target], *, again: bool) -> list[TaskOutcome]:
        """See `Work.act`."""
        if again:
            self._list()
        ids = [one.id for one in targets]
        messages = [self._listed.pop(one) for one in ids if one in self._listed]
        self._seen.update(ids)
        count = self._do(self._queue, messages) if messages else 0
        if again:  # those that are gone were replayed or dropped before
            count += len(ids) - len(messages)
        late = "it was no longer among the dead letters"
        return [done(one) if number < count else skipped(one, late) for number, one in enumerate(ids)]

    def _list(self) -> None:
        listed = self._letters.chosen(self._queue, self._where)
        self._listed = {one.id: one for one in listed if one.id not in self._seen}
