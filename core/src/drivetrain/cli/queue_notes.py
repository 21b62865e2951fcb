"""What is wrong with queues and workers, in sentences below their tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote

import click

from drivetrain.cli.output import printable
from drivetrain.cli.overview import Overview
from drivetrain.worker.status import WorkerStatus

__all__ = ["blocked_notes", "echo_notes", "queue_notes"]


def echo_notes(notes: Iterable[str]) -> None:
    """Print notes below a table."""
    for number, note in enumerate(notes):
        click.echo(f"{'' if number else chr(10)}{note}")


def queue_notes(overview: Overview) -> Iterator[str]:
    """Which queues with messages no worker serves, and why workers are blocked that serve the others."""
    for queue, sizes in overview.queues.items():
        count = (sizes.ready or 0) + (sizes.delayed or 0)
        if count and overview.served(queue) is False:
            waiting = "1 task waits" if count == 1 else f"{count} tasks wait"
            name = printable(queue)
            yield f"No worker serves {name}, where {waiting}. Start one: drivetrain worker --queues {quote(name)}"
    yield from blocked_notes(one for one in overview.workers if not set(one.queues).isdisjoint(overview.queues))


def blocked_notes(workers: Iterable[WorkerStatus]) -> Iterator[str]:
    """Why workers are blocked."""
    for worker in workers:
        if worker.blocked:
            yield f"Worker {printable(worker.name)} is blocked: {printable(worker.blocked)}."
