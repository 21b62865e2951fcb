"""A worker process that kills itself; started by the checks.

python -m drivetrain_contract_tests.workflows.killed_worker BROKER BACKEND FILE LEASE STEP NTH [SETTINGS [PRELUDE]]

SETTINGS is a JSON object with settings of its app, and PRELUDE the Python that it runs first (`Service.prelude`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivetrain import App, current_task
from drivetrain.contract import Message, hookimpl
from drivetrain_contract_tests.workflows import tasks
from drivetrain_contract_tests.workflows.run_log import TaskRun

__all__ = ["STEPS", "Runs"]

#: Where a worker can be killed: at the steps of a delivery, in a task, and around publishing.
STEPS = (
    "received",
    "started",
    "function",
    "ran",
    "recorded",
    "before_publish",
    "after_publish",
    "followed_up",
    "acknowledged",
)


class Killer:
    """An observer that kills its own process with SIGKILL when it comes to ``step`` for the ``nth`` time.

    ``function LABEL`` is a step too: in the task with that label. ``once LABEL`` kills in each task with that label,
    but for those that have killed a process before; the file ``killers`` has their ids.
    """

    def __init__(self, step: str, nth: int, killers: Path) -> None:
        self._step = step
        self._remaining = nth
        self._killers = killers
        self._lock = threading.Lock()

    @hookimpl
    def worker_step(self, step: str, task_ids: Sequence[str]) -> None:  # noqa: ARG002  named by the hook
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        self.come_to(step)

    @hookimpl
    def before_publish(self, messages: Sequence[Message]) -> None:  # noqa: ARG002  named by the hook
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        self.come_to("before_publish")

    @hookimpl
    def after_publish(self, messages: Sequence[Message]) -> None:  # noqa: ARG002  named by the hook
        """See `drivetrain.contract.hookspecs.ObserverHooks`."""
        self.come_to("after_publish")

    def come_to(self, step: str) -> None:
        """Die, if it is time to."""
        with self._lock:
            self._remaining -= step == self._step
            if self._remaining <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def kill_once(self, label: str, task_id: str) -> None:
        """Die in a task whose step is ``once LABEL``, if no process has died in it before."""
        if self._step != f"once {label}":
            return
        with self._lock, self._killers.open("a+", encoding="utf-8") as file:
            file.seek(0)
            if task_id not in file.read().splitlines():
                file.write(f"{task_id}\n")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)


class Runs:
    """A file with a line for every run of a task, which no death takes back."""

    def __init__(self, path: Path, killer: Killer | None = None) -> None:
        self._path = path
        self._killer = killer

    def note(self, label: str, args: tuple[Any, ...]) -> int:  # noqa: ARG002  as a run_log
        """A task runs."""
        task = current_task()
        line = json.dumps([label, task.task_id, task.attempt, time.time(), task.worker]) + "\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())
        if self._killer is not None:
            self._killer.come_to("function")
            self._killer.come_to(f"function {label}")
            self._killer.kill_once(label, task.task_id)
        return 0

    def read(self) -> list[TaskRun]:
        """The runs so far."""
        lines = self._path.read_text("utf-8").splitlines() if self._path.exists() else []
        return [
            TaskRun(label, task, attempt, (), at, worker) for label, task, attempt, at, worker in map(json.loads, lines)
        ]


def main() -> None:
    """Work until killed."""
    broker, backend, path, lease, step, nth, *more = sys.argv[1:]
    exec("\n".join(more[1:]))  # noqa: S102  of the driver's author
    killer = Killer(step, int(nth), Path(f"{path}.killers"))
    settings = {"concurrency": 1, "schedules": False, **(json.loads(more[0]) if more else {})}
    app = App(broker, backend, plugins=[killer], lease_seconds=float(lease), **settings)
    tasks.register(app, Runs(Path(path), killer), tasks.Gates())
    app.worker().run()


if __name__ == "__main__":
    main()
