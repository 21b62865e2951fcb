"""drivetrain in one process: the worker is a thread of the one that sends."""

from __future__ import annotations

from typing import ClassVar

from contestants.drivetrain_sqlite import Drivetrain

__all__ = ["Memory"]


class Memory(Drivetrain):
    setup: ClassVar[str] = "`memory://`: sender and worker share one process, so all but draining compete in it"

    def url(self) -> str:
        return "memory://"

    def start_worker(self) -> None:
        self._thread = self.app.worker(concurrency=self.threads).start()

    def stop_worker(self) -> None:
        self._thread.stop()
