"""The threads of one worker. None of them ends silently: a thread that fails stops its worker."""

from __future__ import annotations

import threading
from collections.abc import Callable

from drivetrain.worker.logs import get_logger

__all__ = ["LateThreads", "Threads"]

logger = get_logger("drivetrain.worker")

#: How long to wait for a thread that waits for a backend: such a wait takes two seconds, or ends when it is closed.
_LATE_SECONDS = 5.0


class LateThreads:
    """Threads of stopped workers that may still use the drivers of their app once. Thread-safe.

    A worker does not wait for them when it stops. The app does when it closes, since they would connect again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def add(self, thread: threading.Thread) -> None:
        """Add a thread that ends soon."""
        with self._lock:
            self._threads = [thread, *(one for one in self._threads if one.is_alive())]

    def join(self) -> bool:
        """Wait until all have ended, or five seconds for each; whether any was alive."""
        with self._lock:
            threads, self._threads = self._threads, []
        alive = [thread for thread in threads if thread.is_alive()]
        for thread in alive:
            thread.join(timeout=_LATE_SECONDS)
        return bool(alive)


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
