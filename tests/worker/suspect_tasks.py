"""Tasks that other processes find here; the app is on the services that two variables name."""

import os
import signal
import threading
from pathlib import Path

from drivetrain import App, Retry, current_task

app = App(
    os.environ.get("SUSPECT_TASKS_BROKER", "memory://"),
    os.environ.get("SUSPECT_TASKS_BACKEND", "memory://"),
    lease_seconds=5.0,
)


@app.task
def pid() -> int:
    return os.getpid()


@app.task
async def pid_in_loop() -> int:
    return os.getpid()


@app.task
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def fork() -> int:
    """Fork: the child comes back from here too."""
    if (child := os.fork()) != 0:
        os.waitpid(child, 0)
    return os.getpid()


@app.task(timeout=0.3)
def too_long() -> None:
    threading.Event().wait(60)


@app.task
def once_more() -> int:
    if current_task().attempt == 0:
        raise Retry(after=0)
    return current_task().attempt


@app.task
def wait(started: str) -> None:
    """Write the process id to the file ``started``, and wait."""
    path = Path(started)
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    threading.Event().wait(60)
