"""The ids of tasks in the application's own log lines: with `logging`, and with structlog."""

import io
import json
import logging
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from drivetrain import App, TaskEvent, current_task, hookimpl

LINES = io.StringIO()


class TaskIds(logging.Filter):
    """Adds the id and the name of the task that runs to each record. ``drivetrain worker`` has one of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            task = current_task()
        except RuntimeError:  # no task runs here
            record.task_id = record.task = "-"
        else:
            record.task_id, record.task = task.task_id, task.task
        return True


class TaskVariables:
    """A plugin for structlog: binds the task to the context variables of its run, which no other task sees."""

    @hookimpl
    @contextmanager
    def around_run(self, event: TaskEvent) -> Iterator[None]:
        with structlog.contextvars.bound_contextvars(task=event.task, attempt=event.attempt):
            yield


def write(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True)


handler = logging.StreamHandler(LINES)
handler.setFormatter(logging.Formatter("%(task)s: %(message)s"))
handler.addFilter(TaskIds())
logger = logging.getLogger("shop")
logger.addHandler(handler)
structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, write], logger_factory=structlog.PrintLoggerFactory(LINES)
)
structured = structlog.get_logger()

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}", plugins=[TaskVariables()])


@app.task
def sell(book: str) -> None:
    logger.warning("selling %s", book)
    structured.info("sold", book=book)


def main() -> None:
    with app.worker():
        sell.send("Emma").get(timeout=30)
    logger.warning("closing")
    structured.info("closed")
    print(LINES.getvalue())


if __name__ == "__main__":
    main()
