"""Rescue on demand: an operator finds tasks whose message is gone, and ends them."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence

from attrs import frozen

from drivetrain.app.settings import Settings
from drivetrain.contract import NotSupported
from drivetrain.worker.options import worker_name
from drivetrain.worker.rescue.ending import LostTaskEnder
from drivetrain.worker.rescue.missed_messages import SEARCHES, MissedMessages, certainty_seconds
from drivetrain.worker.rescue.searching import Found, LostTaskSearch, SearchResult
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime

__all__ = ["DEFAULT_OVERDUE_SECONDS", "RescueReport", "end_tasks", "rescue"]

#: How long tasks must be overdue for a rescue on demand, where the app's settings have no value, in seconds.
DEFAULT_OVERDUE_SECONDS = 3600.0
#: The longest time that an operator waits for a certain result, in seconds.
_LONGEST_WAIT_SECONDS = 600.0


@frozen(kw_only=True)
class RescueReport:
    """The report of a rescue. Immutable."""

    #: The tasks that were ended (in a dry run: that would be ended), and those that are uncertain.
    tasks: Sequence[Found] = ()
    #: The number of uncertain tasks that are left out, since there are too many.
    more: int = 0
    #: Why nothing was searched; empty: the search was done.
    backlog: str = ""


def rescue(runtime: Runtime, settings: Settings, *, overdue_seconds: float, dry_run: bool) -> RescueReport:
    """Search for the messages of overdue tasks, several times, and end the tasks whose message is certainly gone.

    It waits between the searches while a message is missing: minutes, with the default settings.

    Args:
        runtime: the drivers of the app.
        settings: the app's settings.
        overdue_seconds: how long tasks must be due, in seconds.
        dry_run: end no task; tasks that would be ended have no reason in the report.

    Raises:
        NotSupported: the backend cannot list tasks.
        ServiceError: a service could not be reached.
    """
    needed = _needed_seconds(runtime, settings)
    search = _search(runtime, settings, MissedMessages(math.inf if needed is None else needed))
    found = search.search(overdue_seconds)
    if needed is not None and needed <= _LONGEST_WAIT_SECONDS:
        found = _search_again(runtime, search, found, overdue_seconds, needed / (SEARCHES - 1))
    done = found.lost if dry_run else _ender(runtime, settings).end(found.lost)
    return RescueReport(tasks=[*done, *found.missing, *found.unclear], more=found.more, backlog=found.backlog)


def end_tasks(runtime: Runtime, settings: Settings, task_ids: Collection[str]) -> RescueReport:
    """End these unfinished tasks as lost, unless their message is in a queue, or a worker runs them now.

    For tasks of which an operator knows that their message is gone. The report leaves out tasks that have ended, and
    ids without a record.

    Raises: as `rescue`.
    """
    _needed_seconds(runtime, settings)
    found = _search(runtime, settings, MissedMessages(math.inf)).find(list(dict.fromkeys(task_ids)))
    return RescueReport(tasks=_ender(runtime, settings).end(found))


def _search_again(
    runtime: Runtime, search: LostTaskSearch, found: SearchResult, overdue_seconds: float, pause_seconds: float
) -> SearchResult:
    for _ in range(SEARCHES - 1):
        if not found.missing:
            break
        runtime.clock.wait_event(threading.Event(), pause_seconds)
        found = search.search(overdue_seconds)
    return found


def _needed_seconds(runtime: Runtime, settings: Settings) -> float | None:
    if not runtime.backend.capabilities.lists_tasks:
        raise NotSupported(
            "this app's backend cannot list tasks (see `drivetrain describe`), so lost tasks cannot be found"
        )
    return certainty_seconds(
        runtime.broker.capabilities,
        lease_seconds=settings.lease_seconds,
        version_mismatch_seconds=settings.version_mismatch_seconds,
    )


def _search(runtime: Runtime, settings: Settings, missed: MissedMessages) -> LostTaskSearch:
    lease_seconds = settings.lease_seconds
    return LostTaskSearch(
        runtime, lease_seconds=lease_seconds, missed_messages=missed, retrier=_retrier(runtime, settings)
    )


def _ender(runtime: Runtime, settings: Settings) -> LostTaskEnder:
    return LostTaskEnder(
        runtime,
        worker=worker_name(),
        lease_seconds=settings.lease_seconds,
        retrier=_retrier(runtime, settings),
    )


def _retrier(runtime: Runtime, settings: Settings) -> Retrier:
    return Retrier(runtime.clock, limit_seconds=settings.send_seconds)
