"""Traced tasks for child processes, which import them from here; the app is chosen by variables."""

import os

from drivetrain import App, retry
from support.tracing import Tracer, current

app = App(
    os.environ.get("TRACE_TASKS_URL", "memory://"),
    pool="processes",
    concurrency=1,
    plugins=[Tracer(os.environ.get("TRACE_TASKS_FILE", os.devnull))],
)


@app.task
def traced() -> str:
    return current.get().trace


@app.task(pool="loop")
async def traced_coroutine() -> str:
    return current.get().trace


@app.task(retry=retry.fixed(0, max_retries=1))
def raising() -> None:
    raise LookupError("on purpose")
