"""The threads of one worker. None of them ends silently: a thread that fails stops its worker."""

from __future__ import annotations

import threading
from collections.abc import Callable

from drivetrain.worker.logs import get_logger

__all__ = ["Threads"]

logger = get_logger("drivetrain.worker")


class Threads:
    """Starts threads, and reports each one whose function raises. Thread-safe."""

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        """Make it.

        Args:
            failed: called in a thread that has failed, with its name and what its function raised.
        """
        self._failed = failed

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Start a thread that runs ``work``, which returns only when it is stopped.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        thread = threading.Thread(target=self._run, args=(name, work), name=name, daemon=True)
        thread.start()
        return thread

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - any error ends a thread that the worker needs, so it stops the worker
            try:
                logger.critical("thread %s has failed; stopping the worker", name, exc_info=error)
            finally:
                self._failed(name, error)
