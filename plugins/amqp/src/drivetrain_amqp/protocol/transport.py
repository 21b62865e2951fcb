"""The transport: a socket, connected and logged in as pika's parameters say, that several threads share."""

from __future__ import annotations

import math
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from attrs import frozen
from pika import exceptions, frame, spec
from pika.connection import Parameters
from pika.tcp_socket_opts import set_sock_opts

from drivetrain.contract import finish_before_forks
from drivetrain_amqp.errors import Timeout
from drivetrain_amqp.protocol.frames import METHOD, FrameSplitter, decode_method, method_frame

__all__ = ["Agreed", "ReadWaker", "Transport", "closed_by_broker", "log_in"]

_CHUNK_BYTES = 1 << 18
_LONGEST_WAIT_SECONDS = 3600.0
#: How often a blocked writer checks whether to give up.
_WRITE_CHECK_SECONDS = 0.25
#: What the driver says of itself; the capabilities are those that pika's own connections declare.
_CLIENT_PROPERTIES: dict[str, Any] = {
    "product": "drivetrain-amqp",
    "platform": f"Python {sys.version_info.major}.{sys.version_info.minor}",
    "capabilities": {
        "authentication_failure_close": True,
        "basic.nack": True,
        "connection.blocked": True,
        "consumer_cancel_notify": True,
        "exchange_exchange_bindings": True,
        "publisher_confirms": True,
    },
}

if sys.platform == "linux":

    class ReadWaker:
        """Wakes one thread when the socket has something to read, unless muted. Any thread may call `mute`."""

        def __init__(self, watched: socket.socket) -> None:
            self._socket = watched
            self._epoll = select.epoll()
            self._epoll.register(watched, select.EPOLLIN)

        def wait(self, timeout_seconds: float) -> bool:
            """Wait until there is something to read and nobody has muted this, or until the socket has ended."""
            return bool(self._epoll.poll(min(timeout_seconds, _LONGEST_WAIT_SECONDS)))

        def mute(self, muted: bool) -> None:
            """Do not wake the thread for incoming bytes; or do so again."""
            with suppress(OSError, ValueError):  # another thread has closed it
                self._epoll.modify(self._socket, 0 if muted else select.EPOLLIN)

        def close(self) -> None:
            """Free its file descriptor."""
            self._epoll.close()

else:

    class ReadWaker:
        """The same without epoll: it cannot be muted, so the thread sometimes wakes for nothing."""

        def __init__(self, watched: socket.socket) -> None:
            self._poll = select.poll()
            self._poll.register(watched, select.POLLIN)

        def wait(self, timeout_seconds: float) -> bool:
            """Wait until there is something to read, or until the socket has ended."""
            return bool(self._poll.poll(min(timeout_seconds, _LONGEST_WAIT_SECONDS) * 1000))

        def mute(self, muted: bool) -> None:
            """Do nothing."""

        def close(self) -> None:
            """Do nothing: it holds no file descriptor."""


class Transport:
    """A connected socket. One thread at a time reads, others write meanwhile, also over TLS."""

    def __init__(self, parameters: Parameters) -> None:
        """Connect, with TLS where the parameters have ``ssl_options``.

        Raises:
            OSError: the host cannot be reached; TLS errors are OSErrors too.
        """
        address = (parameters.host, parameters.port)
        raw = socket.create_connection(address, parameters.socket_timeout)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            set_sock_opts(parameters.tcp_options, raw)
            self._socket = _with_tls(raw, parameters) if parameters.ssl_options else raw
            self._socket.setblocking(False)
        except BaseException:  # raised again: nobody else could close the socket
            raw.close()
            raise
        # Two threads must not use the OpenSSL state of one connection at once.
        self._tls_lock: AbstractContextManager[object] = threading.Lock() if parameters.ssl_options else nullcontext()
        self._write_lock = threading.Lock()
        self._closed = False
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        #: Wakes the thread that reads while no other thread does.
        self.read_waker = ReadWaker(self._socket)
        self._writable = select.poll()
        self._writable.register(self._socket, select.POLLOUT)

    def read(self, timeout_seconds: float) -> bytes | None:
        """The next bytes; None: none came in time; empty: the end of the stream. For one thread at a time."""
        data = self._receive()
        if data is None and self._readable.poll(min(timeout_seconds, _LONGEST_WAIT_SECONDS) * 1000):
            data = self._receive()
        return data

    def _receive(self) -> bytes | None:
        try:
            with self._tls_lock:
                return self._socket.recv(_CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def write(self, data: bytes, keep_waiting: Callable[[float], bool]) -> None:
        """Send all of ``data``; wait while the other side does not read, until `abort`. Thread-safe.

        Args:
            data: the bytes.
            keep_waiting: whether to wait on, after this many seconds in which the other side has read nothing.

        Raises:
            OSError: some bytes could not be sent.
        """
        view = memoryview(data)
        with self._write_lock:
            progress_at = time.monotonic()
            while view:
                try:
                    with self._tls_lock:
                        sent = self._socket.send(view)
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._wait_writable()
                    if not keep_waiting(time.monotonic() - progress_at):
                        raise TimeoutError("the server does not read what is sent to it") from None
                else:
                    view, progress_at = view[sent:], time.monotonic()

    def try_write(self, data: bytes) -> None:
        """Send a few bytes, or nothing if that would block: for the thread that keeps the connection alive."""
        if self._write_lock.acquire(blocking=False):
            try:
                if self._writable.poll(0):
                    with self._tls_lock, suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        self._socket.send(data)
            finally:
                self._write_lock.release()

    def _wait_writable(self) -> None:
        self._writable.poll(_WRITE_CHECK_SECONDS * 1000)
        if self._closed:
            raise ConnectionAbortedError("closed while sending")

    def abort(self) -> None:
        """End the stream: blocked readers and writers return."""
        self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free the socket. Call it when no thread reads any more."""
        self.abort()
        with self._write_lock, suppress(OSError):
            self._socket.close()
        self.read_waker.close()


def _with_tls(raw: socket.socket, parameters: Parameters) -> ssl.SSLSocket:
    options = parameters.ssl_options
    assert options is not None  # noqa: S101 - the caller has checked it
    with finish_before_forks():
        return options.context.wrap_socket(raw, server_hostname=options.server_hostname or parameters.host)


@frozen
class Agreed:
    """What client and server have agreed on."""

    max_frame_bytes: int
    max_channels: int
    #: 0: none.
    heartbeat_seconds: float
    #: Has the first bytes after the login, if some have come.
    splitter: FrameSplitter
    #: The first methods after the login, if some have come.
    early_methods: tuple[Any, ...] = ()


def log_in(transport: Transport, parameters: Parameters) -> Agreed:
    """Authenticate, agree on limits and open the virtual host.

    pika has these steps too, but only inside its connections, which keep their socket to themselves.

    Raises:
        pika.exceptions.AMQPError: the server refuses the client, or does not speak AMQP 0-9-1.
        OSError: the connection is lost.
    """
    dialog = _Dialog(transport, math.inf if parameters.stack_timeout is None else parameters.stack_timeout)
    dialog.write(frame.ProtocolHeader().marshal())
    tune = _authenticate(dialog, parameters, dialog.receive(spec.Connection.Start))
    max_channels = _lower_limit(parameters.channel_max, tune.channel_max)
    max_frame_bytes = _lower_limit(parameters.frame_max, tune.frame_max)
    heartbeat: Any = tune.heartbeat if parameters.heartbeat is None else parameters.heartbeat
    dialog.send(spec.Connection.TuneOk(max_channels, max_frame_bytes, heartbeat))
    dialog.send(spec.Connection.Open(parameters.virtual_host))
    try:
        dialog.receive(spec.Connection.OpenOk)
    except exceptions.ConnectionClosedByBroker as error:
        raise exceptions.ProbableAccessDeniedError(error.reply_text) from error
    return Agreed(max_frame_bytes, max_channels, heartbeat, dialog.splitter, tuple(dialog.received))


def _authenticate(dialog: _Dialog, parameters: Parameters, start: Any) -> Any:
    mechanism: Any
    response: Any  # bytes, which pika's codec takes too
    mechanism, response = parameters.credentials.response_for(start)
    if mechanism is None:
        raise exceptions.AuthenticationError(parameters.credentials.TYPE)
    properties = {**_CLIENT_PROPERTIES, **(parameters.client_properties or {})}
    dialog.send(spec.Connection.StartOk(properties, mechanism, response, parameters.locale))
    try:
        return dialog.receive(spec.Connection.Tune)
    except exceptions.ConnectionClosedByBroker as error:
        raise exceptions.ProbableAuthenticationError(error.reply_text) from error


def _lower_limit(ours: int, theirs: int) -> int:
    """The lower of two limits, of which 0 is none."""
    return min(ours, theirs) if ours and theirs else ours or theirs


def closed_by_broker(close: spec.Connection.Close) -> exceptions.ConnectionClosedByBroker:
    """The error for ``connection.close``, with the server's reason."""
    return exceptions.ConnectionClosedByBroker(close.reply_code or 0, close.reply_text or "")


class _Dialog:
    """Methods on channel 0, one after the other, before the connection has a read loop."""

    def __init__(self, transport: Transport, seconds: float) -> None:
        self._transport = transport
        self._deadline = time.monotonic() + seconds
        self.splitter = FrameSplitter()
        self.received: list[Any] = []

    def write(self, data: bytes) -> None:
        self._transport.write(data, lambda _: time.monotonic() < self._deadline)

    def send(self, method: Any) -> None:
        self.write(method_frame(0, method))

    def receive(self, kind: Any) -> Any:
        while not self.received:
            self.received += self._read_methods()
        method = self.received.pop(0)
        if isinstance(method, spec.Connection.Close):
            self.send(spec.Connection.CloseOk())
            raise closed_by_broker(method)
        if not isinstance(method, kind):
            raise exceptions.UnexpectedFrameError(method)
        return method

    def _read_methods(self) -> list[Any]:
        seconds = self._deadline - time.monotonic()
        data = self._transport.read(seconds) if seconds > 0 else None
        if data is None:
            raise Timeout("the server does not answer (connect_timeout_seconds)")
        if not data:
            raise exceptions.IncompatibleProtocolError("the server closed the connection during the login")
        return [decode_method(payload) for kind, _, payload in self.splitter.feed(data) if kind == METHOD]
