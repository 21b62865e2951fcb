"""Others who write the same documents: how long they are given way."""

from __future__ import annotations

import threading

from drivetrain.contract import ServiceUnavailable

__all__ = ["Conflicts"]

#: How often in a row a call may find its documents changed by others, and the longest pause before it tries again, in
#: seconds. All of them together take some seconds.
_TRIES = 40
_LONGEST_PAUSE_SECONDS = 0.1


class Conflicts:
    """Counts how often a call was thwarted, and lets it wait a little longer each time. Used by one thread."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def passed(self) -> None:
        """Something was done: others do not keep us from all."""
        self._in_a_row = 0

    def thwarted(self) -> None:
        """Nothing could be done. Pause: others finish meanwhile, and a majority comes to have what they wrote.

        Raises:
            ServiceUnavailable: that was so too often.
        """
        self._in_a_row += 1
        if self._in_a_row > _TRIES:
            raise ServiceUnavailable(f"others have changed the same records {_TRIES} times in a row; try again")
        threading.Event().wait(min(0.001 * 2 ** min(self._in_a_row, 10), _LONGEST_PAUSE_SECONDS))
