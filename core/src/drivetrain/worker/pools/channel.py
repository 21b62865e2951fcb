"""The two lines between a worker and its child process: objects in both directions, and permits to begin tasks."""

from __future__ import annotations

import os
import pickle
import struct
import threading
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["BATCHES", "Channel", "Permits"]

#: Whether this platform has what a batch of tasks needs: pipes that several processes read.
BATCHES = os.name == "posix"

_LENGTH = struct.Struct("!Q")
#: How much is read at once, in bytes: hundreds of small answers.
_READ_BYTES = 1 << 18
#: How many batches permits can tell apart. A child is never more than one batch behind.
_TAGS = 256


class Channel:
    """Sends and receives pickled objects. One thread receives; any may send.

    Each answer of a child is written at once, since the child may die in its next task. A read takes all answers that
    have arrived: each system call gives other threads of the worker the interpreter.

    Args:
        connection: an end of a pipe in both directions.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._received = bytearray()

    def fileno(self) -> int:
        """The file descriptor."""
        return self._connection.fileno()

    def send(self, thing: object) -> None:
        """Send an object; raises OSError if the other end is closed."""
        body = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
        with self._sending:
            if BATCHES:
                _write(self.fileno(), _LENGTH.pack(len(body)) + body)
            else:
                self._connection.send_bytes(body)

    def receive(self, timeout_seconds: float | None) -> list[Any]:
        """The objects that have arrived; those of the first read.

        Args:
            timeout_seconds: how long to wait for the first one; then there may be none. None: without limit.

        Raises:
            EOFError: the other end is closed.
            OSError: this end is broken.
        """
        while timeout_seconds is None or self._connection.poll(timeout_seconds):
            if not BATCHES:
                return [pickle.loads(self._connection.recv_bytes())]  # noqa: S301 - from our own process
            read = os.read(self.fileno(), _READ_BYTES)
            if not read:
                raise EOFError
            self._received += read
            if found := self._complete():
                return found
        return []

    def has_data(self) -> bool:
        """Whether something has arrived, or the other end is closed; raises OSError if this end is broken."""
        return self._connection.poll()

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _complete(self) -> list[Any]:
        """Remove and return the objects that have arrived as a whole."""
        found, begin, received = [], 0, self._received
        while len(received) - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, begin)
            end = begin + _LENGTH.size + length
            if len(received) < end:
                break
            with memoryview(received) as view:
                found.append(pickle.loads(view[begin + _LENGTH.size : end]))  # noqa: S301 - from our own process
            begin = end
        del received[:begin]
        return found


class Permits:
    """Permits to begin the tasks of a batch: bytes in a pipe, which both the child and its worker can take.

    The kernel gives each byte to one of them. So the worker can take tasks back from a child, and knows then which of
    them the child has begun. It knows that also of a child that has died.

    Each byte names its batch. The worker may take back the rest of a batch and give permits for the next one while the
    child is between two tasks: then it must begin nothing more of the old one.

    Args:
        reader: the end to read.
        writer: the end to write; None in a child.
    """

    def __init__(self, reader: Connection[Any, Any], writer: Connection[Any, Any] | None = None) -> None:
        self._reader = reader
        self._writer = writer
        #: In a child: the batch of a permit that it took while it was in the batch before; None: there is none.
        self._early: int | None = None
        if BATCHES:
            os.set_blocking(reader.fileno(), False)

    def give(self, number: int, batch: int) -> None:
        """Permit ``number`` tasks of a batch, counted from 0; raises OSError if the pipe is broken."""
        if BATCHES and self._writer is not None:
            _write(self._writer.fileno(), bytes([batch % _TAGS]) * number)

    def begin(self, batch: int) -> bool:
        """Take a permit for the next task of a batch, in a child; False: the worker has taken the others back."""
        if not BATCHES:
            return True
        tag, early = batch % _TAGS, self._early
        if early is None:
            try:
                read = os.read(self._reader.fileno(), 1)
            except BlockingIOError:
                return False
            early = read[0] if read else None
        self._early = None if early == tag else early
        return early == tag

    def take(self, number: int = 1) -> int:
        """Take up to ``number`` permits; how many were there. Does not wait."""
        if not BATCHES:
            return number
        taken = 0
        try:
            while taken < number and (read := os.read(self._reader.fileno(), number - taken)):
                taken += len(read)
        except BlockingIOError:
            pass  # there are no more
        return taken

    def close(self) -> None:
        """Close the ends of this process."""
        self._reader.close()
        if self._writer is not None:
            self._writer.close()


def _write(descriptor: int, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]
