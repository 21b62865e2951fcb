"""The app of the chaos run: ``drivetrain worker chaos.tasks:app``. Its tasks note in a file when they begin and end."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from drivetrain import App, current_task
from drivetrain_contract_tests.workflows.tasks import Gates, register

__all__ = ["RUNS_VARIABLE", "RunEvent", "Runs", "add_tasks", "app"]

#: The environment variable that names the file of runs.
RUNS_VARIABLE = "CHAOS_RUNS"
_RETRY_SECONDS = 0.2


@frozen
class RunEvent:
    """A task has begun or ended a run."""

    kind: str
    label: str
    task_id: str
    attempt: int
    pid: int
    #: Unix seconds.
    at: float


class Runs:
    """The file of runs. Each event is one write, which the death of the process cannot take back."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, label: str, _args: tuple[Any, ...]) -> int:
        """A task begins; see `drivetrain_contract_tests.workflows.tasks.Notes`."""
        self.write("begin", label)
        return 0

    def write(self, kind: str, label: str) -> None:
        """Append an event of the task that runs in this thread."""
        task = current_task()
        line = json.dumps([kind, label, task.task_id, task.attempt, os.getpid(), time.time()])
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    def read(self) -> Iterator[RunEvent]:
        """The events so far, in the order of writing."""
        if self._path.exists():
            for line in self._path.read_text("utf-8").splitlines():
                yield RunEvent(*json.loads(line))


def add_tasks(app: App, runs: Runs) -> App:
    """Give ``app`` the tasks; a sender has them too, for their retry policies."""
    register(app, runs, Gates(), retry_seconds=_RETRY_SECONDS)

    @app.task(name="hold")
    def hold(seconds: float, *, label: str) -> Any:
        """Run for a while, so that two runs of one task at the same time can be seen."""
        runs.write("begin", label)
        threading.Event().wait(seconds)
        runs.write("end", label)
        return [label]

    @app.task(name="hold_async")
    async def hold_async(seconds: float, *, label: str) -> Any:
        """The same on the event loop."""
        runs.write("begin", label)
        await asyncio.sleep(seconds)
        runs.write("end", label)
        return [label]

    return app


app = add_tasks(App(), Runs(Path(os.environ.get(RUNS_VARIABLE, os.devnull))))
