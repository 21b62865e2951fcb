"""Tasks for child processes, which import them from here; the app is chosen by a variable."""

import decimal
import os
import signal
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pool_library

from drivetrain import App, Batch, SoftTimeout, current_batch, current_task, hookimpl, retry


class NotesErrors:
    """An observer that notes in a file which process saw which error."""

    @hookimpl
    def task_raised(self, event, error, retrying):
        if path := os.environ.get("POOL_TASKS_ERRORS"):
            with Path(path).open("a") as file:
                file.write(f"{os.getpid()} {event.task_id} {error!r} {retrying}\n")


app = App(os.environ.get("POOL_TASKS_URL", "memory://"), pool="processes", concurrency=2, plugins=[NotesErrors()])
app.include(pool_library.library)


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def square(x: int) -> int:
    return x * x


@app.task
def reports(gate: str) -> str:
    task = current_task()
    task.progress(1, 3, "begun")
    pause = threading.Event()
    while app.result(task.task_id).progress() != (1, 3):
        pause.wait(0.01)
    threading.Thread(target=task.progress, args=(2, 3)).start()
    while not Path(gate).exists():
        pause.wait(0.01)
    return "done"


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


user: ContextVar[str] = ContextVar("user", default="nobody")


@app.task
def spoil() -> None:
    user.set("alice")
    decimal.getcontext().prec = 3


@app.task
def look() -> list[str]:
    return [user.get(), str(decimal.Decimal(1) / 3)]


@app.task
def close_files(_path: str) -> None:
    os.closerange(3, 10_000)  # its files have the numbers that they have in the worker


@app.task
def close_files_and_go_on(_path: str) -> None:
    os.closerange(3, 10_000)  # its files have the numbers that they have in the worker
    threading.Event().wait(60)


@app.task
def close_and_reopen_files(path: str) -> None:
    """What the child then writes to its worker goes into files of the task."""
    os.closerange(3, 10_000)  # its files have the numbers that they have in the worker
    for number in range(30):
        os.open(f"{path}/{number}", os.O_CREAT | os.O_RDWR)


@app.task
def exit_leaving_a_child(_path: str) -> None:
    """Die, while a child holds everything open that was open here."""
    if os.fork() == 0:
        threading.Event().wait(30)
        os._exit(0)
    os._exit(1)


@app.task
def note_run(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


@app.task
def replaced(x: int) -> int:
    return current_task().replace(square.s(x))


@app.task(soft_timeout=0.2, timeout=60)
def lingers() -> str:
    try:
        while True:
            threading.Event().wait(0.01)
    except SoftTimeout:
        return "cleaned up"


@app.task(batch=Batch(3, wait=60))
def squares(rows: list[Any]) -> list[Any]:
    return [TypeError(f"{row} is no number") if isinstance(row, str) else (row * row, os.getpid()) for row in rows]


@app.task(batch=Batch(2, wait=60))
def rows_report(gates: list[str]) -> None:
    for number, row in enumerate(current_batch()):
        row.progress(number, 3)
    while not Path(gates[0]).exists():
        threading.Event().wait(0.01)


@app.task(batch=Batch(2, wait=60))
def dies_once(rows: list[str]) -> list[str]:
    if not Path(rows[0]).exists():
        Path(rows[0]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return ["lives"] * len(rows)


def _first_run_of(path: str, name: str) -> bool:
    """Note a run of ``name``; whether it is the first one."""
    runs = Path(path)
    with runs.open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    return sum(line.split()[0] == name for line in runs.read_text().splitlines()) == 1


@app.task
def note(path: str, name: str) -> str:
    _first_run_of(path, name)
    return name


@app.task
def leave(path: str, name: str) -> str:
    """End its process in the first run, with all that runs in it."""
    if _first_run_of(path, name):
        os._exit(7)
    return name


@app.task
def be_killed(path: str, name: str) -> str:
    """Die of SIGKILL in the first run."""
    if _first_run_of(path, name):
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@app.task
def break_files(path: str, name: str) -> str:
    """Close all files of its process in the first run."""
    if _first_run_of(path, name):
        os.closerange(3, 10_000)  # its files have the numbers that they have in the worker
    return name


@app.task(timeout=2.0, retry=retry.fixed(0, max_retries=1))
def hang_once(path: str, name: str) -> str:
    """Go beyond its time limit in the first run."""
    if _first_run_of(path, name):
        threading.Event().wait(60)
    return name


@app.task
def fork_and_return(path: str, name: str) -> str:
    """Return in two processes in the first run."""
    if _first_run_of(path, name) and os.fork():
        os.wait()
    return name


@app.task
def wait_for(path: str, gate: str) -> str:
    _first_run_of(path, "wait")
    pause = threading.Event()
    while not Path(gate).exists():
        pause.wait(0.01)
    return "waited"
