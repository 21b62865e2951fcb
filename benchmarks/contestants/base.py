"""What a contestant must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from place import Place
from processes import Workers

__all__ = ["Contestant"]


class Contestant(ABC):
    """One task queue with the tasks of `tasks.TASKS`, set up in a place of its own.

    It is made once in the process that sends and measures, and once more in each worker's. What cannot be done at all
    is named in its entry (``without``), and its method is not called.

    Args:
        place: its directory and servers, and how many tasks a worker runs at a time.
        number: which of the worker processes this is, from 0.
    """

    #: What a reader should know of how it is set up.
    setup: ClassVar[str] = ""
    #: Whether a task survives that its worker is killed, and why.
    crash_safe: ClassVar[str] = ""
    #: The distributions whose versions the report tells.
    packages: ClassVar[tuple[str, ...]] = ()
    #: Its name among the entries.
    entry: str

    def __init__(self, place: Place, number: int = 0) -> None:
        self.place = place
        self.number = number

    # In the process that sends

    @abstractmethod
    def send(self, task: str, argument: Any) -> Any:
        """Send one task; a handle to its result."""

    @abstractmethod
    def send_many(self, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """Send a task for each argument, in the fastest way that there is; their handles in order."""

    def send_many_at(self, when: float, task: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """As `send_many`; they are to run at this time (seconds since 1970)."""
        raise NotImplementedError

    def send_at_once(self, task: str, arguments: Sequence[Any], at_once: int) -> None:
        """Send a task for each argument from coroutines of one event loop, each in a call of its own."""
        raise NotImplementedError

    @abstractmethod
    def stored(self, handles: Sequence[Any]) -> int:
        """How many of these results can be read. One round trip at most, which costs the workers next to nothing."""

    @abstractmethod
    def results(self, handles: Sequence[Any]) -> Sequence[Any]:
        """Read all these results, which are there."""

    @abstractmethod
    def round_trip(self, number: int) -> int:
        """Send ``double(number)``, wait for its result in the fastest way that there is, and give it."""

    def chord(self, numbers: Sequence[int]) -> int:
        """Send ``double`` of each number and ``total`` of their results; wait for that, and give it."""
        raise NotImplementedError

    def chain(self, length: int) -> int:
        """Send a chain of so many ``double``, the first with 0; wait for the result of the last, and give it."""
        raise NotImplementedError

    def start_workers(self) -> Workers:
        """Start as many worker processes as the place says; return when they are about to take their first task."""
        return Workers(self.entry, self.place)

    # In a worker's process

    @abstractmethod
    def work(self, ready: Callable[[], None]) -> None:
        """Work until SIGTERM; call ``ready`` first, when nothing is left to be prepared."""
