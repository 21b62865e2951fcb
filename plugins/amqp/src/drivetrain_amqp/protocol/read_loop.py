"""The read loop of a connection: a thread that waits for an answer reads the socket itself.

Waking a waiting thread takes as long as RabbitMQ's answer. So the waiting thread takes the read lock if it is free, and
reads. Other waiting threads sleep until it hands over their answers. A thread of its own reads while nobody waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from attrs import frozen
from pika import exceptions

from drivetrain_amqp.protocol.transport import Transport

__all__ = ["Handlers", "ReadLoop"]


@frozen
class Handlers:
    """The callbacks of a `ReadLoop`."""

    #: Takes the bytes; called with the read lock held.
    take: Callable[[bytes], None]
    #: Sends a heartbeat if one is due; returns in how many seconds at the latest it needs the next call.
    beat: Callable[[], float]
    #: Marks the connection as lost, calls `ReadLoop.stop`, and makes every wait end.
    fail: Callable[[Exception], None]


class ReadLoop:
    """Reads a transport for all threads that wait. Thread-safe."""

    def __init__(self, transport: Transport, handlers: Handlers) -> None:
        self._transport, self._handlers = transport, handlers
        self._read_lock = threading.Lock()
        self._stopped = False
        #: Set when nobody reads any more.
        self.ended = threading.Event()

    def start(self, name: str) -> None:
        """Start the thread that reads while nobody waits."""
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def wait(self, done: Callable[[], bool], sleep: Callable[[float], object], seconds: float) -> bool:
        """Wait up to ``seconds`` until ``done()``; whether it is done.

        Args:
            done: must be true once `Handlers.fail` has returned. It is called without a lock.
            sleep: sleeps up to a number of seconds until another thread may have read the answer.
            seconds: the time limit.
        """
        deadline = time.monotonic() + seconds
        while not done():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            if not self._stopped and self._read_lock.acquire(blocking=False):
                try:
                    self._read_until(done, deadline)
                finally:
                    self._read_lock.release()
            else:
                sleep(remaining)
        return True

    def _read_until(self, done: Callable[[], bool], deadline: float) -> None:
        self._transport.read_waker.mute(True)
        try:
            while not done() and not self._stopped and (remaining := deadline - time.monotonic()) > 0:
                self._read(remaining)
        finally:
            self._transport.read_waker.mute(False)

    def _read(self, seconds: float) -> None:
        """Hand over what has come, or comes within ``seconds``."""
        try:
            data = self._transport.read(seconds)
            if data:
                self._handlers.take(data)
            elif data is not None:
                raise exceptions.StreamLostError("the server closed the connection")
        except exceptions.AMQPError as error:
            self._handlers.fail(error)
        except Exception as error:  # noqa: BLE001 - the bytes are lost, whatever the error; every waiting thread gets it
            self._handlers.fail(exceptions.StreamLostError(f"lost: {error!r}"))
        except BaseException:  # for example Ctrl-C in the middle of a frame
            self._handlers.fail(exceptions.StreamLostError("interrupted while reading"))
            raise

    def stop(self) -> None:
        """Stop reading: the connection is lost."""
        self._stopped = True
        self._transport.abort()

    def _run(self) -> None:
        try:
            while not self._stopped:
                seconds = self._handlers.beat()
                if self._transport.read_waker.wait(seconds) and self._read_lock.acquire(timeout=seconds):
                    try:
                        self._read(0)
                    finally:
                        self._read_lock.release()
        except exceptions.AMQPError as error:
            self._handlers.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever ends this thread ends the connection, with this error
            self._handlers.fail(exceptions.StreamLostError(f"lost: {error!r}"))
        finally:
            with self._read_lock:  # `stop` has woken a thread that reads
                self._transport.close()
            self.ended.set()
