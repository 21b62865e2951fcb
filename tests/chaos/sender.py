"""Sends workflows in a thread of its own, and notes how each one ends."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from chaos.judging import LOST, Sent
from chaos.story import Expected, Story
from drivetrain import App, Result, ResultTimeout, ServiceError, TaskCancelled, TaskFailed
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.tasks import plain

__all__ = ["Sender"]

_PAUSE_SECONDS = 0.02


class Sender:
    """Sends while it is entered; `finish` waits for the rest."""

    def __init__(self, app: App, story: Story, *, at_once: int) -> None:
        """Make it.

        Args:
            app: what it sends with.
            story: what it sends.
            at_once: how many workflows are under way at most.
        """
        self._app = app
        self._story = story
        self._at_once = at_once
        self._over = threading.Event()
        #: Set when sending has ended with an error, which leaving raises.
        self.failed = threading.Event()
        self._error: BaseException | None = None
        self._waiting: list[tuple[Expected, Result[Any]]] = []
        self._ended: list[Sent] = []
        self._more_ended = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="chaos-sender")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def await_ends(self, number: int, seconds: float) -> bool:
        """Wait until so many more workflows have ended; False: they did not in ``seconds``, or sending has failed."""
        with self._more_ended:
            wanted = len(self._ended) + number
            self._more_ended.wait_for(lambda: len(self._ended) >= wanted or self.failed.is_set(), seconds)
            return len(self._ended) >= wanted

    def finish(self, seconds: float) -> list[Sent]:
        """Wait for what is under way; everything that was sent.

        Args:
            seconds: what has not ended by then is lost.
        """
        end = time.monotonic() + seconds
        while self._waiting and time.monotonic() < end:
            self._collect()
            threading.Event().wait(_PAUSE_SECONDS)
        return [*self._ended, *(Sent(expected, LOST, time.time()) for expected, _ in self._waiting)]

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                if len(self._waiting) < self._at_once:
                    self._send(self._story.next())
                else:
                    self._over.wait(_PAUSE_SECONDS)
                self._collect()
        except BaseException as error:
            self._error = error
            with self._more_ended:
                self.failed.set()
                self._more_ended.notify_all()

    def _send(self, expected: Expected) -> None:
        try:
            handle = self._app.send(expected.workflow)
            if not expected.cancelled or handle.cancel():
                self._waiting.append((expected, handle))
        except ServiceError:
            pass  # the broker may or may not have it, so that nobody can say what must become of it

    def _collect(self) -> None:
        """Take those that have ended out of what is waited for."""
        waiting, ended = [], []
        for expected, handle in self._waiting:
            outcome = self._outcome(handle)
            if outcome == LOST:
                waiting.append((expected, handle))
            else:
                ended.append(Sent(expected, outcome, time.time()))
        self._waiting = waiting
        with self._more_ended:
            self._ended += ended
            self._more_ended.notify_all()

    def _outcome(self, handle: Result[Any]) -> Any:
        """How it has ended; LOST while it has not."""
        try:
            return plain(handle.get(timeout=0))
        except (ResultTimeout, ServiceError):
            return LOST
        except TaskCancelled:
            return None  # what is cancelled has no outcome
        except TaskFailed:
            return FAILED
