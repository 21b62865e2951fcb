"""Waiting for what is to happen, with a deadline and a message that says what did not."""

import threading
import time

DEADLINE_SECONDS = 60.0


def until(condition, what, *, timeout=DEADLINE_SECONDS):
    """Wait until ``condition()`` gives something true, and give it.

    For what tells nobody that it happens (a file, another process); where an event can be waited for, wait for that.
    """
    pause = threading.Event()
    end = time.monotonic() + timeout
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"within {timeout} s it did not happen: {what}"
        pause.wait(0.005)


def happened(event, what, *, timeout=DEADLINE_SECONDS):
    """Wait for a `threading.Event`."""
    assert event.wait(timeout), f"within {timeout} s it did not happen: {what}"


class Log:
    """Notes of what ran, to be waited for. Thread-safe."""

    def __init__(self):
        self._changed = threading.Condition()
        self._notes = []

    def note(self, *note):
        with self._changed:
            self._notes.append(note[0] if len(note) == 1 else note)
            self._changed.notify_all()

    def clear(self):
        with self._changed:
            self._notes.clear()

    @property
    def notes(self):
        with self._changed:
            return list(self._notes)

    def wait_for(self, number, what="notes", *, timeout=DEADLINE_SECONDS):
        """Wait until there are at least ``number`` notes; all of them."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._notes) >= number, timeout)
            assert enough, f"within {timeout} s there were {len(self._notes)} of {number} {what}: {self._notes[:20]}"
            return list(self._notes)
