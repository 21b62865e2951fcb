"""Noticing that the file has changed: at once when this object did it or a hint was given, else soon."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from drivetrain.contract import Clock, ServiceError
from drivetrain.drivers.sqlite.hints import Hint, Listener

__all__ = ["Versioned", "Watcher"]

#: How often the file is looked at: right after a change, and when nothing has happened for a while. Nobody relies on
#: hints: after a change that came without one, the file is looked at as often as where there are none.
_BUSY_SECONDS = 0.001
_IDLE_SECONDS = 0.005
_HINTED_IDLE_SECONDS = 0.1
_SLOWING = 1.1
#: How long the thread outlives the last waiter: starting it anew for every message would cost more than it does.
_LINGER_SECONDS = 2.0


class Versioned(Protocol):
    """What can be watched."""

    def version(self, *, connect: bool) -> object:
        """What is different after every change by another connection; None when not connected."""
        ...


class Watcher:
    """Lets threads wait for a change. One thread looks for all of them, and only while one of them waits.

    Args:
        watched: what to look at.
        clock: by which threads wait. ``watched`` is looked at in real time, for other processes live in it.
        hint: by which other processes are told, and tell.
    """

    def __init__(self, watched: Versioned, clock: Clock, hint: Hint) -> None:
        self._watched = watched
        self._hint = hint
        self._clock = clock
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._wanted = threading.Condition(lock)
        self._changes = 0
        self._waiters = 0
        self._thread: threading.Thread | None = None
        self._last: object = None

    def mark(self) -> int:
        """Where we are. To be taken before one looks whether there is need to `wait`, so that no change is missed."""
        self._look(connect=True)
        return self._changes

    def announce(self) -> None:
        """Say that there was a change, to other processes too."""
        self.notify()
        self._hint.give()

    def notify(self) -> None:
        """Wake those who wait here."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait(self, mark: int, timeout_seconds: float) -> None:
        """Wait until something has changed since ``mark``, at most so long; it may also return for no reason."""
        with self._changed:
            if self._changes != mark:
                return
            self._waiters += 1
            try:
                self._start()
                self._clock.wait(self._changed, timeout_seconds)
            finally:
                self._waiters -= 1

    def _look(self, *, connect: bool) -> bool:
        """Look at what is watched; whether it has changed."""
        try:
            version = self._watched.version(connect=connect)
        except ServiceError:
            self._note(None)  # nobody knows what is missed until it can be looked at again
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
        """See that the thread runs and is not parked. The lock is held."""
        if self._thread is None or not self._thread.is_alive():  # it may have failed
            thread = threading.Thread(target=self._run, name="drivetrain-sqlite-watcher", daemon=True)
            thread.start()
            self._thread = thread
        else:
            self._wanted.notify()

    def _run(self) -> None:
        listener = self._hint.listen()
        try:
            self._look_often(listener)
        finally:
            if listener is not None:
                listener.close()

    def _look_often(self, listener: Listener | None) -> None:
        idle = _IDLE_SECONDS if listener is None else _HINTED_IDLE_SECONDS
        pause, hinted = _BUSY_SECONDS, False
        while self._is_wanted():
            changed = self._look_again()
            pause = _BUSY_SECONDS if changed and not hinted else min(pause * _SLOWING, idle)
            hinted = _pause(listener, pause)

    def _look_again(self) -> bool:
        try:
            return self._look(connect=False)
        except ServiceError:
            # Those who wait meet the same error when they look themselves, and have somebody to tell.
            self.notify()
            return False

    def _is_wanted(self) -> bool:
        """Whether somebody waits; parks the thread while nobody does, and after a while lets it end."""
        with self._wanted:
            wanted = self._wanted.wait_for(lambda: self._waiters > 0, _LINGER_SECONDS)
            if not wanted:
                self._thread = None
            return wanted


def _pause(listener: Listener | None, seconds: float) -> bool:
    """Wait for a hint, or do nothing for a while; whether there was one."""
    if listener is None:
        time.sleep(seconds)
        return False
    return listener.wait(seconds)
