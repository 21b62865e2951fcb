"""The rounds in which the fair keys of a queue take turns. Pure."""

from __future__ import annotations

__all__ = ["FairRounds"]

#: How many lines may be remembered before those that wait no longer are looked for.
_SLACK = 64


class FairRounds:
    """Assigns rounds to the messages of a queue. Not thread-safe.

    Each message gets the round after the one of the previous message with its key, and never an earlier round than the
    one that is being delivered. So each key has at most one message in a round, and a key that was idle joins the
    current round. The messages without a key are one more line.
    """

    def __init__(self) -> None:
        #: By priority: the round that is being delivered.
        self._current: dict[int, int] = {}
        #: By priority and key: the last round that has a message of it.
        self._last: dict[tuple[int, str | None], int] = {}
        self._most = _SLACK

    def enter(self, priority: int, key: str | None) -> int:
        """The round of a new message with this key."""
        line = (priority, key)
        number = max(self._current.get(priority, 0), self._last.get(line, -1) + 1)
        self._last[line] = number
        if len(self._last) > self._most:
            self._forget()
        return number

    def deliver(self, priority: int, number: int) -> None:
        """Note that a message of this round is delivered."""
        if number > self._current.get(priority, 0):
            self._current[priority] = number

    def end(self) -> None:
        """Note that no message waits: all lines begin again in the current round."""
        self._last.clear()

    def _forget(self) -> None:
        """Forget the lines that would join the current round anyway."""
        current = self._current
        self._last = {line: last for line, last in self._last.items() if last >= current.get(line[0], 0)}
        self._most = 2 * len(self._last) + _SLACK
