"""Tasks for child processes, which import them from here; the app is chosen by a variable."""

import os
import signal
import threading
from pathlib import Path

from drivetrain import App, current_task, hookimpl, retry


class NotesErrors:
    """An observer that notes in a file which process saw which error."""

    @hookimpl
    def task_raised(self, event, error, retrying):
        if path := os.environ.get("POOL_TASKS_ERRORS"):
            with Path(path).open("a") as file:
                file.write(f"{os.getpid()} {event.task_id} {error!r} {retrying}\n")


app = App(os.environ.get("POOL_TASKS_URL", "memory://"), pool="processes", concurrency=2, plugins=[NotesErrors()])


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def square(x: int) -> int:
    return x * x


@app.task
def failing(text: str) -> None:
    raise LookupError(text)


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.lock = threading.Lock()


@app.task
def unpicklable_error() -> None:
    raise Unpicklable(1, 2)


@app.task
def unsendable_result():
    return threading.Lock()


@app.task(timeout=0.3)
def too_long() -> None:
    threading.Event().wait(60)


@app.task(timeout=0.3, retry=retry.fixed(0.01, max_retries=1))
def too_long_once() -> int:
    if current_task().attempt == 0:
        threading.Event().wait(60)
    return current_task().attempt


@app.task
def die_until(path: str, deaths: int) -> int:
    """Die with SIGKILL for the first ``deaths`` runs, counted in a file."""
    runs = Path(path)
    with runs.open("a") as file:
        file.write(f"{current_task().attempt}\n")
    if len(runs.read_text().split()) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(runs.read_text().split())


@app.task
def note_and_wait(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    threading.Event().wait(60)
