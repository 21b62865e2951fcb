"""The options of a worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from uuid import uuid4

from attrs import field, frozen

__all__ = ["WorkerOptions", "worker_name"]


def worker_name() -> str:
    """A unique name: host, process and a few random letters."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"


@frozen(kw_only=True)
class WorkerOptions:
    """The options of a worker."""

    #: The queues it receives from; earlier ones first.
    queues: tuple[str, ...]
    #: The weights of queues; empty: earlier queues always come first. See `drivetrain.worker.queue_order`.
    queue_weights: Mapping[str, int] = field(factory=dict)
    #: Unique among workers.
    name: str = field(factory=worker_name)
    #: How many tasks run at once in threads, and as many in child processes.
    concurrency: int = 8
    #: How many ``async def`` tasks run at once on the event loop.
    loop_concurrency: int = 100
    #: How long a message and a run are held without a heartbeat, in seconds; renewed three times in that time.
    lease_seconds: float = 30.0
    #: The largest number of messages that it receives beyond those that it runs.
    prefetch_limit: int = 1000
    #: How long running tasks may take to finish when it is stopped, in seconds.
    grace_seconds: float = 30.0
    #: The largest number of starts of one attempt that never finish, because a process died, before the message is
    #: dead-lettered; the later ones run alone.
    max_starts: int = 5
    #: How long a message that this worker cannot run is offered to others, in seconds, before it is dead-lettered.
    version_mismatch_seconds: float = 240.0
    #: How often a task without a retry policy may raise Retry.
    retry_limit: int = 100
    #: How long an attempt may raise Postpone before it fails, in seconds.
    postpone_limit_seconds: float = 86400.0
    #: Whether every task that succeeds is logged.
    log_successes: bool = False
    #: How long counts over time are kept, in seconds; 0: there are none.
    counts_retention_seconds: float = 172800.0
    #: After how long without its message an overdue task is ended as lost, in seconds; None: never.
    rescue_after_seconds: float | None = 3600.0
    #: Whether it ticks the schedules.
    schedules: bool = True
    #: How many tasks a child process runs before it is replaced; None: any number.
    max_tasks_per_child: int | None = None
    #: How much memory a child process may use after a task before it is replaced, in MB (1,000,000 bytes); None: any.
    max_memory_per_child: int | None = None
    #: Called in each child process before it runs tasks, to set up logging for instance. It must be picklable.
    prepare_child: Callable[[], None] | None = None
