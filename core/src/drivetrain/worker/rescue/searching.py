"""Searches the messages of overdue tasks. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from drivetrain.worker.rescue.message_search import Finding, MessageSearch
from drivetrain.worker.rescue.missed_messages import MissedMessages
from drivetrain.worker.rescue.overdue import Overdue, overdue_among, overdue_tasks
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime

__all__ = ["Found", "LostTaskSearch", "SearchResult"]

#: The longest delay with which workers offer a message that they cannot run to other workers, in seconds.
_LONGEST_OFFER_SECONDS = 10.0
#: The largest number of tasks that one search reports, of those with a missing message, and of uncertain ones.
_MOST_MISSING, _MOST_UNCLEAR = 50_000, 1_000
_MAY_BE_IN_FLIGHT = "its message is in no queue, but a consumer may hold it"


@frozen(kw_only=True)
class Found:
    """An overdue task, and the result of searching its message. Immutable."""

    overdue: Overdue
    finding: Finding
    #: Why the rescue does not end it; empty: it does.
    reason: str = ""
    #: What was done: ``ended``, ``resumed`` (a group); empty: nothing.
    done: str = ""


@frozen(kw_only=True)
class SearchResult:
    """The result of one search. It leaves out tasks whose message is in a queue: they are only slow. Immutable."""

    #: Tasks whose message is certainly gone.
    lost: Sequence[Found] = ()
    #: Tasks whose message was missed, and may be in flight.
    missing: Sequence[Found] = ()
    #: Tasks whose message may be in a queue.
    unclear: Sequence[Found] = ()
    #: The number of missing and uncertain tasks that are left out, since there are too many.
    more: int = 0
    #: Why nothing was searched; empty: the search was done.
    backlog: str = ""


class LostTaskSearch:
    """Finds overdue tasks, and searches their messages. Used by one thread."""

    def __init__(
        self, runtime: Runtime, *, lease_seconds: float, missed_messages: MissedMessages, retrier: Retrier
    ) -> None:
        """Make it.

        Args:
            runtime: whose drivers.
            lease_seconds: how long workers hold messages, in seconds.
            missed_messages: the results of earlier searches.
            retrier: retries while a service is unavailable.
        """
        self._runtime = runtime
        self._lease_seconds = lease_seconds
        self._missed_messages = missed_messages
        self._retrier = retrier

    def search(self, overdue_seconds: float) -> SearchResult:
        """Search the messages of overdue tasks, once. Changes nothing.

        Args:
            overdue_seconds: how long tasks must be due, in seconds.

        Raises:
            ServiceError: a service did not answer; this search does not count.
        """
        clock = self._runtime.clock
        now = clock.now()
        messages = MessageSearch(self._runtime.broker, now=now, longest_pause_seconds=self._longest_pause())
        if backlog := messages.backlog():
            self._missed_messages.update((), clock.monotonic())
            return SearchResult(backlog=backlog)
        missing, unclear, more = list[Found](), list[Found](), 0
        for found in (self._find_message(messages, one) for one in overdue_tasks(self._runtime, now - overdue_seconds)):
            if found.finding is Finding.MISSING and len(missing) < _MOST_MISSING:
                missing.append(found)
            elif found.finding is Finding.UNCLEAR and len(unclear) < _MOST_UNCLEAR:
                unclear.append(found)
            elif found.finding is not Finding.FOUND:
                more += 1
        certain = self._missed_messages.update((one.overdue for one in missing), clock.monotonic())
        lost = {one.record.task_id for one in certain}
        return SearchResult(
            lost=[one for one in missing if one.overdue.record.task_id in lost],
            missing=[
                evolve(one, reason=_MAY_BE_IN_FLIGHT) for one in missing if one.overdue.record.task_id not in lost
            ],
            unclear=unclear,
            more=more,
        )

    def find(self, task_ids: Sequence[str]) -> Sequence[Found]:
        """Search the messages of those of these tasks that are unfinished and due.

        Raises:
            ServiceError: a service did not answer.
        """
        now = self._runtime.clock.now()
        records = self._retrier.call("read", lambda: self._runtime.backend.read(task_ids))
        unfinished = [record for record in records if record is not None and not record.state.terminal]
        messages = MessageSearch(self._runtime.broker, now=now, longest_pause_seconds=self._longest_pause())
        return [self._find_message(messages, one) for one in overdue_among(self._runtime, unfinished, now)]

    def _longest_pause(self) -> float:
        return 2 * max(self._lease_seconds, _LONGEST_OFFER_SECONDS)

    def _find_message(self, messages: MessageSearch, one: Overdue) -> Found:
        if one.message_id is None:
            return Found(overdue=one, finding=Finding.MISSING)
        finding, reason = messages.find(one.message_id, one.queue)
        return Found(overdue=one, finding=finding, reason=reason)
