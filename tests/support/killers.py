"""Tasks that kill their process, beside others that do no harm; on the service that a variable names."""

import asyncio
import os
import signal
import time

from drivetrain import App

url = os.environ["KILLERS_URL"]
app = App(url, url, lease_seconds=1.0, version_mismatch_seconds=0)


def _kill(how: str) -> None:
    """End this process in one of the ways in which nothing of Python runs any more."""
    if how == "exit 0":
        os._exit(0)
    if how == "exit 1":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def kill_in_thread(how: str) -> None:
    _kill(how)


@app.task
async def kill_in_loop(how: str) -> None:
    _kill(how)


@app.task(pool="processes")
def kill_in_processes(how: str) -> None:
    _kill(how)


@app.task
def work_in_thread(number: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return number


@app.task
async def work_in_loop(number: int, seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return number


@app.task(pool="processes")
def work_in_processes(number: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return number


@app.task
def take_two(one: int, two: int) -> int:
    return one + two
