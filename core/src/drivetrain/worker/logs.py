"""Logging in the threads of a worker, which a broken logging filter or formatter of the application must not end."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

__all__ = ["WorkerLogger", "get_logger"]


class WorkerLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs like the logger that it wraps, and raises no `Exception`.

    `logging` itself reports what a handler raises, and lets through what a filter raises. Here both are reported to
    standard error, unless `logging.raiseExceptions` is false.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Pass both on: the adapter adds nothing to a record."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, if that is possible."""
        try:
            # One frame more, so that the record names the line that logs and not this one.
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})
        except Exception:  # noqa: BLE001 - a filter is the application's, and may raise anything
            if logging.raiseExceptions and sys.stderr is not None:
                traceback.print_exc()


def get_logger(name: str) -> WorkerLogger:
    """The logger of this name, for use in the threads of a worker."""
    return WorkerLogger(logging.getLogger(name))
