"""Noticing that the database has changed: at once by a notification, otherwise within milliseconds by polling."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from drivetrain.contract import Clock, ServiceError
from drivetrain.drivers.sqlite.file_notify import FileNotifier, Listener

__all__ = ["Versioned", "Watcher"]

#: The pause between two polls right after a change. After a change that came without a notification, the file is polled
#: as often as without them.
_BUSY_SECONDS = 0.001
#: The longest pause while nothing changes, without and with notifications; see `Watcher`.
_IDLE_SECONDS = 0.005
_NOTIFIED_IDLE_SECONDS = 0.1
#: The factor by which the pause grows.
_SLOWING = 1.1
#: How long the thread outlives the last waiting call: to start one for every message would cost more.
_LINGER_SECONDS = 2.0


class Versioned(Protocol):
    """Something that changes."""

    def version(self, *, connect: bool) -> object:
        """A value that is different after every change by another connection; None when not connected."""
        ...


class Watcher:
    """Lets threads wait for a change. One background thread polls for all of them, only while one of them waits.

    Args:
        watched: what changes.
        clock: the clock by which threads wait. ``watched`` is polled in real time: other processes change it.
        notifier: notifications to and from other processes.
        idle_seconds: the longest pauses between two polls, without notifications and with them, in seconds.
            None: those of messages and tasks.
    """

    def __init__(
        self,
        watched: Versioned,
        clock: Clock,
        notifier: FileNotifier,
        idle_seconds: tuple[float, float] | None = None,
    ) -> None:
        self._watched = watched
        self._idle_seconds = idle_seconds
        self._notifier = notifier
        self._clock = clock
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        self._changes = 0
        self._waiters = 0
        self._thread: threading.Thread | None = None
        self._last: object = None

    def mark(self) -> int:
        """The number of changes so far. Take it before you look for a reason to `wait`, so that no change is missed.

        Raises:
            ServiceError: the file cannot be read.
        """
        self._check(connect=True)
        return self._changes

    def announce(self) -> None:
        """Report a change, to other processes too."""
        self.notify()
        self._notifier.notify()

    def notify(self) -> None:
        """Wake the calls that wait in this object."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait(self, mark: int, timeout_seconds: float) -> None:
        """Wait for a change since ``mark``, at most ``timeout_seconds``; it may return early without one."""
        with self._changed:
            if self._changes != mark:
                return
            self._waiters += 1
            try:
                self._start()
                self._clock.wait(self._changed, timeout_seconds)
            finally:
                self._waiters -= 1

    def _check(self, *, connect: bool) -> bool:
        """Whether there was a change since the last check."""
        try:
            version = self._watched.version(connect=connect)
        except ServiceError:
            self._note(None)  # changes may be missed until the file can be read again
            raise
        return self._note(version)

    def _note(self, version: object) -> bool:
        with self._changed:
            if version == self._last:
                return False
            self._last = version
            self._changes += 1
            self._changed.notify_all()
            return True

    def _start(self) -> None:
        """Start or wake the thread. The lock is held."""
        if self._thread is None or not self._thread.is_alive():  # an unexpected error may have ended it
            thread = threading.Thread(target=self._run, name="drivetrain-sqlite-watcher", daemon=True)
            thread.start()
            self._thread = thread
        else:
            self._wanted.notify()

    def _run(self) -> None:
        listener = self._notifier.listen()
        try:
            self._poll(listener)
        finally:
            if listener is not None:
                listener.close()

    def _poll(self, listener: Listener | None) -> None:
        idle = (self._idle_seconds or (_IDLE_SECONDS, _NOTIFIED_IDLE_SECONDS))[listener is not None]
        pause, notified = _BUSY_SECONDS, False
        while self._is_wanted():
            changed = self._check_in_background()
            pause = _BUSY_SECONDS if changed and not notified else min(pause * _SLOWING, idle)
            notified = _pause(listener, pause)

    def _check_in_background(self) -> bool:
        try:
            return self._check(connect=False)
        except ServiceError:
            self.notify()  # a woken call checks the file itself, meets the same error and raises it to its caller
            return False

    def _is_wanted(self) -> bool:
        """Whether a call waits. Blocks while none does; False after `_LINGER_SECONDS` without one."""
        with self._wanted:
            wanted = self._wanted.wait_for(lambda: self._waiters > 0, _LINGER_SECONDS)
            if not wanted:
                self._thread = None
            return wanted


def _pause(listener: Listener | None, seconds: float) -> bool:
    """Wait for a notification, at most ``seconds``; whether there was one."""
    if listener is None:
        time.sleep(seconds)
        return False
    return listener.wait(seconds)
