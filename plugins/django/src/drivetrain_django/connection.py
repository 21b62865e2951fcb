"""The database connections of Django around each run of a task: as around a request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager

from django.db import connections

from drivetrain import TaskEvent, hookimpl

__all__ = ["ClosesConnections", "fresh_connections"]


class ClosesConnections:
    """A plugin that closes connections which are too old or broken, before and after each run.

    So ``CONN_MAX_AGE`` and ``CONN_HEALTH_CHECKS`` hold for tasks as they do for requests. A run on the event loop has
    no connections of its own: its queries run in the threads of asgiref.
    """

    @hookimpl
    def around_run(self, event: TaskEvent) -> AbstractContextManager[None]:  # noqa: ARG002 - named by the hook
        """See `drivetrain.contract.hookspecs.ActingHooks`."""
        return fresh_connections()


@contextmanager
def fresh_connections() -> Iterator[None]:
    """The block in which the connections of this thread are fresh; it leaves none behind that is too old or broken."""
    if _loop_runs():
        yield
        return
    # A connection in a transaction belongs to the code around: a test that runs tasks in its own thread.
    used = {one.alias for one in connections.all(initialized_only=True) if one.in_atomic_block}
    _close_old(used)
    try:
        yield
    finally:
        _close_old(used)


def _close_old(used: AbstractSet[str]) -> None:
    for connection in connections.all(initialized_only=True):
        if connection.alias not in used:
            connection.close_if_unusable_or_obsolete()


def _loop_runs() -> bool:
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None
