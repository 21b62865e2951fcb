"""Batch calls that concurrent callers share: while some are under way, the entries of others wait for the next one.

A thread that finds at most one call under way calls at once, by itself: sharing begins with the third. The entries of
all others, and those of coroutines, go out together, from a thread of the `SharedCall`. So an interrupted caller harms
only itself: no caller makes the call of another one.

Nobody waits for others for long, and nobody gets the error of another caller:

- Entries that have waited for `_PATIENCE_SECONDS`, because the service is slow or hangs, go out by themselves.
- If a shared call fails, each of its callers repeats it by itself, and gets its own answers or its own error.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

__all__ = ["SharedCall"]

E = TypeVar("E")
A = TypeVar("A")
logger = logging.getLogger("drivetrain")

#: How many threads may call by themselves at once: waking another thread costs more than it saves for so few.
_DIRECT = 2
#: What is larger than one of these is not shared: it would delay the others, and gains little.
_LARGEST_PART = 100
_LARGEST_PART_BYTES = 64 * 1024
#: How long entries wait for the calls that are under way, in seconds.
_PATIENCE_SECONDS = 0.01
#: How long a shared call waits until as many callers are there as the last one had, in seconds.
_GATHER_SECONDS = 0.0003
#: How many entries a shared call has at most.
_LARGEST_BATCH = 500
#: How many shared calls may be under way at once.
_LARGEST_THREADS = 8
#: How long a thread without work waits for more, in seconds, before it ends.
_LINGER_SECONDS = 2.0

_GONE = object()


class _Part(Generic[E, A]):
    """The entries of one caller, in a shared call.

    Attributes:
        entries: the entries.
        answers: their answers; None: there are none yet, or the shared call has failed.
        future: what a coroutine awaits; None: the caller is a thread.
    """

    __slots__ = ("_ended", "answers", "entries", "future")

    def __init__(self, entries: Sequence[E], future: Future[Sequence[A] | None] | None = None) -> None:
        self.entries = entries
        self.answers: Sequence[A] | None = None
        self.future = future
        if future is None:
            self._ended = threading.Lock()
            self._ended.acquire()

    def wait(self, seconds: float = -1) -> bool:
        """Wait for the end of the shared call, for ``seconds`` at most (-1: without limit); whether it has ended."""
        return self._ended.acquire(timeout=seconds)

    def end(self) -> None:
        """Let `wait` return."""
        self._ended.release()

    @property
    def is_wanted(self) -> bool:
        """Whether its caller has not been cancelled."""
        return self.future is None or not self.future.cancelled()


class SharedCall(Generic[E, A]):
    """A batch call that concurrent callers share. Thread-safe, within one process: a forked child makes its own.

    Args:
        call: takes entries, and returns an answer for each. It may be repeated, and several threads may call it at
            once.
        size: the size of an entry, in bytes. Large ones are not shared.
    """

    def __init__(self, call: Callable[[Sequence[E]], Sequence[A]], size: Callable[[E], int]) -> None:
        self._call = call
        self._size = size
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        #: In the order in which they came.
        self._waiting: dict[_Part[E, A], None] = {}
        #: An item for each thread that calls by itself: to append and to pop need no lock.
        self._direct: list[None] = []
        #: Whether a thread of this object makes shared calls, so that others join it.
        self._sharing = False
        #: When an event loop checks whether entries have waited too long (monotonic).
        self._check_at = 0.0
        #: How many callers the last shared call had.
        self._expected = 1
        self._threads = 0
        self._idle_threads = 0

    def __call__(self, entries: Sequence[E]) -> Sequence[A]:
        """The answers for ``entries``. Blocks; raises what the call raises for these entries."""
        if len(self._direct) < _DIRECT and not self._sharing:
            self._direct.append(None)
            try:
                return self._call(entries)
            finally:
                self._direct.pop()
        if not self._is_small(entries):
            return self._call(entries)
        part: _Part[E, A] = _Part(entries)
        try:
            self._enter(part)
            if not part.wait(_PATIENCE_SECONDS) and not self._withdraw(part):
                part.wait()  # its call is under way
        except BaseException:  # raised again: an interrupted caller's entries need not go out
            self._withdraw(part)
            raise
        return self._call(entries) if part.answers is None else part.answers

    def submit(self, entries: Sequence[E], loop: AbstractEventLoop) -> Future[Sequence[A] | None] | None:
        """The answers for ``entries``, to be awaited on the event loop that runs, which is not blocked.

        If the future is cancelled before the entries go out, they do not go out.

        Returns:
            The future of the answers, or of None: the shared call has failed; call in a thread. None: the entries are
            too many or too large to be shared.
        """
        if not self._is_small(entries):
            return None
        future: Future[Sequence[A] | None] = loop.create_future()
        if not self._enter(_Part(entries, future)) and (now := monotonic()) >= self._check_at:
            self._check_at = now + _PATIENCE_SECONDS
            loop.call_later(_PATIENCE_SECONDS, self._hurry)
        return future

    # Callers

    def _is_small(self, entries: Sequence[E]) -> bool:
        if len(entries) == 1:  # as most are
            return self._size(entries[0]) <= _LARGEST_PART_BYTES
        return len(entries) <= _LARGEST_PART and sum(map(self._size, entries)) <= _LARGEST_PART_BYTES

    def _enter(self, part: _Part[E, A]) -> bool:
        """Let entries wait for the next shared call; whether a thread was woken for them."""
        with self._lock:
            self._waiting[part] = None
            if not self._sharing:
                self._wake_thread()
                return True
            if len(self._waiting) == self._expected:
                self._changed.notify()
            return False

    def _withdraw(self, part: _Part[E, A]) -> bool:
        """Let entries not go out in a shared call, since their caller was interrupted or has waited too long.

        Returns:
            False: they have gone.
        """
        with self._lock:
            if self._waiting.pop(part, _GONE) is _GONE:
                return False
            self._sharing = False  # what is under way is slow: the next callers do not wait for it
            return True

    def _hurry(self) -> None:
        """Let another thread call for what waits, whatever is under way."""
        with self._lock:
            if self._waiting:
                self._wake_thread()

    # Threads

    def _wake_thread(self) -> None:
        """Let a thread call for what waits. The caller holds the lock."""
        self._sharing = True
        if self._idle_threads:
            self._changed.notify()
        elif self._threads < _LARGEST_THREADS:
            thread = threading.Thread(target=self._run, name="drivetrain-send", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends, or there are too many threads
                self._sharing = False
                waiting, self._waiting = self._waiting, {}
                _end(list(waiting), None)
            else:
                self._threads += 1

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                answers = self._call([entry for part in batch for entry in part.entries])
            except BaseException as error:  # noqa: BLE001 - each caller repeats it, and gets its own error
                logger.debug("a call that %d senders shared has failed, and each repeats it: %s", len(batch), error)
                _end(batch, None)
            else:
                _end(batch, answers)

    def _next_batch(self) -> Sequence[_Part[E, A]]:
        """Wait for entries, and take them. Empty: this thread ends."""
        with self._lock:
            # The callers of the last call have their answers, and may call again at once.
            self._changed.wait_for(lambda: len(self._waiting) >= self._expected, _GATHER_SECONDS)
            batch = self._take()
            while not batch:
                self._sharing = False
                self._idle_threads += 1
                called = self._changed.wait_for(lambda: self._waiting, _LINGER_SECONDS)
                self._idle_threads -= 1
                if not called:
                    self._threads -= 1
                    return ()
                batch = self._take()
            self._sharing = True
            self._expected = len(batch)
            return batch

    def _take(self) -> Sequence[_Part[E, A]]:
        """Take what goes out in the next call, in order. The caller holds the lock."""
        batch: list[_Part[E, A]] = []
        size = 0
        while self._waiting:
            part = next(iter(self._waiting))
            size += len(part.entries)
            if batch and size > _LARGEST_BATCH:
                break
            del self._waiting[part]
            if part.is_wanted:
                batch.append(part)
        return batch


def _end(parts: Sequence[_Part[Any, Any]], answers: Sequence[Any] | None) -> None:
    """Give each caller its answers; None: the shared call has failed."""
    awaited: dict[AbstractEventLoop, list[_Part[Any, Any]]] = {}
    first = 0
    for part in parts:
        if answers is not None:
            part.answers = answers[first : first + len(part.entries)]
            first += len(part.entries)
        if part.future is None:
            part.end()
        else:
            awaited.setdefault(part.future.get_loop(), []).append(part)
    for loop, some in awaited.items():
        try:
            loop.call_soon_threadsafe(_resolve, some)
        except RuntimeError:  # the event loop was closed, and with it its callers
            logger.debug("the event loop of %d senders was closed before they were answered", len(some))


def _resolve(parts: Sequence[_Part[Any, Any]]) -> None:
    for part in parts:
        if part.future is not None and not part.future.done():
            part.future.set_result(part.answers)
