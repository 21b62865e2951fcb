"""Who reads a connection: whoever waits for something by it reads by himself, and a thread while nobody does.

To hand what has come from a thread that reads to one that waits means to wake that one, which takes as long as the
server does for its answer. So there is one turn to read, and those who wait take it where it is free.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from attrs import frozen
from pika import exceptions

from drivetrain_amqp.stream import Stream

__all__ = ["Handlers", "Reading"]


@frozen
class Handlers:
    """What is done with what happens to a connection."""

    #: Takes what has come; called in the turn to read.
    take: Callable[[bytes], None]
    #: Sends a sign of life if it is time, and says within how many seconds it wants to be called again.
    beat: Callable[[], float]
    #: Counts the connection as lost, and calls `Reading.stop`; everybody who waits then has an error.
    fail: Callable[[Exception], None]


class Reading:
    """Reads a stream for everybody. Thread-safe."""

    def __init__(self, stream: Stream, handlers: Handlers) -> None:
        self._stream, self._handlers = stream, handlers
        self._turn = threading.Lock()
        self._lost = False
        #: Set when nobody reads any more.
        self.ended = threading.Event()

    def start(self, name: str) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch, name=name, daemon=True).start()

    def wait(self, done: Callable[[], bool], sleep: Callable[[float], object], seconds: float) -> bool:
        """Wait until ``done()``, or for so many seconds; whether it is done.

        Args:
            done: is true at the latest when `Handlers.fail` has returned. It is asked without any lock.
            sleep: waits up to so many seconds until it may be done, because somebody else has read it.
            seconds: how long to wait.
        """
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not self._lost and self._turn.acquire(blocking=False):
                try:
                    self._read_until(done, deadline)
                finally:
                    self._turn.release()
            else:
                sleep(left)
        return True

    def _read_until(self, done: Callable[[], bool], deadline: float) -> None:
        self._stream.watcher.mute(True)
        try:
            while not done() and not self._lost and (left := deadline - time.monotonic()) > 0:
                self._read(left)
        finally:
            self._stream.watcher.mute(False)

    def _read(self, seconds: float) -> None:
        """Take what has come, or comes so soon."""
        try:
            data = self._stream.read(seconds)
            if data:
                self._handlers.take(data)
            elif data is not None:
                raise exceptions.StreamLostError("the server has ended the connection")
        except exceptions.AMQPError as error:
            self._handlers.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was read is lost, and that is told
            self._handlers.fail(exceptions.StreamLostError(f"lost: {error!r}"))
        except BaseException:  # Ctrl-C, for instance, in the middle of a frame
            self._handlers.fail(exceptions.StreamLostError("interrupted while reading"))
            raise

    def stop(self) -> None:
        """The connection is lost: nobody is to read it any more."""
        self._lost = True
        self._stream.abort()

    # The thread

    def _watch(self) -> None:
        try:
            while not self._lost:
                seconds = self._handlers.beat()
                if self._stream.watcher.wait(seconds) and self._turn.acquire(timeout=seconds):
                    try:
                        self._read(0)
                    finally:
                        self._turn.release()
        except exceptions.AMQPError as error:
            self._handlers.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever ends this thread ends the connection, and is told
            self._handlers.fail(exceptions.StreamLostError(f"lost: {error!r}"))
        finally:
            with self._turn:  # whoever reads has been woken by `stop`
                self._stream.close()
            self.ended.set()
