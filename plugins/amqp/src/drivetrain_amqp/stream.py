"""A socket that one thread at a time reads while others write, over TLS as well."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from drivetrain.contract import Host, finish_before_forks
from drivetrain_amqp.options import Options
from drivetrain_amqp.watcher import Watcher

__all__ = ["Stream"]

_CHUNK_BYTES = 1 << 18
_LONGEST_WAIT_SECONDS = 3600.0
#: How often one who waits to send looks whether to wait on.
_LOOK_SECONDS = 0.25


class Stream:
    """Bytes to and from a host."""

    def __init__(self, options: Options, host: Host) -> None:
        """Connect.

        Raises:
            OSError: not connected; TLS errors are among them.
        """
        raw = socket.create_connection((host.name, host.port), options.connection_timeout_seconds)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = _wrapped(raw, options, host) if options.tls else raw
            self._socket.setblocking(False)
        except BaseException:
            raw.close()
            raise
        # What OpenSSL keeps for one connection must not be used by two threads at once.
        self._turn: AbstractContextManager[object] = threading.Lock() if options.tls else nullcontext()
        self._writing = threading.Lock()
        self._closed = False
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        #: Wakes the thread that reads while nobody else does.
        self.watcher = Watcher(self._socket)
        self._writable = select.poll()
        self._writable.register(self._socket, select.POLLOUT)

    def read(self, timeout_seconds: float) -> bytes | None:
        """What has come; None when nothing came in time, empty at the end. For one thread at a time."""
        data = self._take()
        if data is None and self._readable.poll(min(timeout_seconds, _LONGEST_WAIT_SECONDS) * 1000):
            data = self._take()
        return data

    def _take(self) -> bytes | None:
        try:
            with self._turn:
                return self._socket.recv(_CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, data: bytes, still_patient: Callable[[float], bool]) -> None:
        """Send all of it. Any thread; waits as long as the other side does not read, until `abort`.

        Args:
            data: what to send.
            still_patient: whether to wait on, after so many seconds in which the other side has taken nothing.

        Raises:
            OSError: not all was sent.
        """
        view = memoryview(data)
        with self._writing:
            taken_at = time.monotonic()
            while view:
                try:
                    with self._turn:
                        sent = self._socket.send(view)
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._wait_writable()
                    if not still_patient(time.monotonic() - taken_at):
                        raise TimeoutError("the server takes nothing") from None
                else:
                    view, taken_at = view[sent:], time.monotonic()

    def try_write(self, data: bytes) -> None:
        """Send a few bytes, unless that would have to wait: for the thread that keeps it alive, which must not."""
        if self._writing.acquire(blocking=False):
            try:
                if self._writable.poll(0):
                    with self._turn, suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        self._socket.send(data)
            finally:
                self._writing.release()

    def _wait_writable(self) -> None:
        self._writable.poll(_LOOK_SECONDS * 1000)
        if self._closed:
            raise ConnectionAbortedError("closed while sending")

    def abort(self) -> None:
        """End it: readers and writers are woken."""
        self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it, when nobody uses it any more."""
        self.abort()
        with self._writing, suppress(OSError):
            self._socket.close()
        self.watcher.close()


def _wrapped(raw: socket.socket, options: Options, host: Host) -> ssl.SSLSocket:
    with finish_before_forks():
        context = ssl.create_default_context(cafile=options.ca_file or None)
        if options.cert_file:
            context.load_cert_chain(options.cert_file, options.key_file or None)
        return context.wrap_socket(raw, server_hostname=host.name)
