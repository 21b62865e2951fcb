"""An app whose workers can be killed between any two steps: imported by the tests, and run as the worker to be killed.

python killing.py DATABASE RUNS '{"step": "recorded", "task_id": "b", "nth": 1}'
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from drivetrain import App, current_task, hookimpl, retry
from support.clocks import Ahead


class Killer:
    """An observer that kills its own process with SIGKILL at the ``nth`` time that a task comes to ``step``.

    None as ``task_id`` stands for whichever task comes.
    """

    def __init__(self, step, task_id, nth=1):
        self._where = (step, task_id)
        self._left = nth

    @hookimpl
    def worker_step(self, step, task_ids):
        self.look(step, task_ids)

    @hookimpl
    def before_publish(self, messages):
        self.look("before_publish", [message.id for message in messages])

    @hookimpl
    def after_publish(self, messages):
        self.look("after_publish", [message.id for message in messages])

    def look(self, step, task_ids):
        if step == self._where[0] and self._where[1] in (None, *task_ids):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Runs:
    """A file with a line for every run of a task, which no death takes back: (task id, attempt)."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.touch()

    def note(self):
        task = current_task()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{task.task_id} {task.attempt}\n".encode())
        finally:
            os.close(file)

    def read(self):
        """The runs so far, in order."""
        lines = [line.split() for line in self.path.read_text().splitlines()]
        return [(task_id, int(attempt)) for task_id, attempt in lines]


def make_app(database, runs, *, killer=None, clock=None, **settings):
    """The app, with tasks that note their runs."""
    url = f"sqlite:///{database}"
    settings = {"concurrency": 1, "plugins": [killer] if killer else [], **settings}
    app = App(url, url, clock=clock, **settings)
    noted = Runs(runs)

    def begin():
        noted.note()
        if killer is not None:
            killer.look("function", [current_task().task_id])

    @app.task(name="value")
    def value(number: int) -> int:
        begin()
        return number

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        begin()
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        begin()
        return sum(numbers)

    @app.task(name="flaky", retry=retry.fixed(0.01, max_retries=2))
    def flaky(number: int) -> int:
        begin()
        if current_task().attempt == 0:
            raise ConnectionError("not yet")
        return number

    @app.task(name="broken")
    def broken(number: int) -> int:
        begin()
        raise ValueError(f"{number} is wrong")

    @app.task(name="slow")
    def slow(seconds: float) -> int:
        begin()
        threading.Event().wait(seconds)
        return 1

    return app


def main():
    database, runs, where = sys.argv[1:4]
    killer = Killer(**json.loads(where)) if where != "null" else None
    options = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    ahead = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    worker = make_app(database, runs, killer=killer, clock=Ahead(ahead)).worker(**options)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop(wait=False))
    worker.run()


if __name__ == "__main__":
    main()
