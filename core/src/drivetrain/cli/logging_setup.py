"""Logging of a worker: to stderr, task id and name on every line, as text or as one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from drivetrain.worker.context import log_names
from drivetrain.worker.log_text import shortened_lines

__all__ = ["FORMATS", "TaskFilter", "set_up_logging"]

_NO_TASK = "-"
#: The attributes of every record; all others come from ``extra=``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "task_id", "task"}


class TaskFilter(logging.Filter):
    """Adds ``task_id`` and ``task`` of the task that logs, "-" where none does. Lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them; a record that came with its own keeps them."""
        fallback = log_names() or (_NO_TASK, _NO_TASK)
        record.task_id = getattr(record, "task_id", fallback[0])
        record.task = getattr(record, "task", fallback[1])
        return True


class _Formatter(logging.Formatter):
    """Bounds the text of exceptions."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return shortened_lines(super().formatException(ei))


class _TextFormatter(_Formatter):
    """``2026-11-22T15:00:00.123Z INFO drivetrain.worker [add 0193…] message``."""

    def __init__(self) -> None:
        super().__init__("%(time)s %(levelname)s %(name)s [%(whose)s] %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        record.time = _time(record)
        task, task_id = vars(record)["task"], vars(record)["task_id"]
        record.whose = task_id if task == _NO_TASK else f"{task} {task_id}"
        return super().formatMessage(record)


class _JsonFormatter(_Formatter):
    """One object: time, level, logger, task_id, task, message, exception, and the fields of ``extra=``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = vars(record)
        document: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "task_id": fields["task_id"],
            "task": fields["task"],
            "message": record.getMessage(),
        }
        document.update(
            (name, value) for name, value in fields.items() if name not in _STANDARD and name not in document
        )
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = record.stack_info
        return json.dumps(document, default=repr)


FORMATS: Mapping[str, type[logging.Formatter]] = {"text": _TextFormatter, "json": _JsonFormatter}


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def set_up_logging(level: str, log_format: str) -> None:
    """Send what is logged, from ``level`` on, to stderr; ``log_format`` is one of `FORMATS`.

    Handlers that the app has set up stay, except those that write to the terminal as well.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if _writes_to_terminal(handler)]:
        root.removeHandler(handler)
    ours = logging.StreamHandler(sys.stderr)
    ours.addFilter(TaskFilter())
    ours.setFormatter(FORMATS[log_format]())
    root.addHandler(ours)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _writes_to_terminal(handler: logging.Handler) -> bool:
    streams = (sys.stdout, sys.stderr)
    return type(handler) is logging.StreamHandler and handler.stream in streams
