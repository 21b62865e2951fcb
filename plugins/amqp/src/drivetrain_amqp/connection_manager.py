"""The connection manager: one connection, made when it is needed and made again when it is lost; and the declarer."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from pika import exceptions, spec
from pika.connection import Parameters

from drivetrain.contract import Clock, ConfigurationError, ServiceError, ServiceUnavailable
from drivetrain_amqp import delay_queues
from drivetrain_amqp.connection import Channel, Connection, Request
from drivetrain_amqp.errors import CLIENT_ERRORS, NOT_FOUND, reply_code, translated
from drivetrain_amqp.exclusive_locks import ExclusiveLocks
from drivetrain_amqp.options import AccessToken, Options, TokenSource, connection_parameters
from drivetrain_amqp.topology import Declaration, DeclareQueue, Topology

__all__ = ["QUORUM_LOCK", "ConnectionManager", "Declarer", "errors_translated", "forget_declared"]

logger = logging.getLogger("drivetrain.amqp")

C = TypeVar("C", bound=Channel)
#: Declarations to make, by the key under which the connection remembers them.
Wanted = dict[object, Callable[[], list[Declaration]]]

#: How many requests go out before the first reply is read.
_REQUESTS_TOGETHER = 50
#: The share of a token's lifetime after which the next token is due; and the pause after a token source has failed.
_TOKEN_SHARE, _TOKEN_RETRY_SECONDS = 0.8, 10.0
#: How long the driver trusts that delay queues and their exchanges still exist. They look empty and useless to an
#: operator, and RabbitMQ does not report a message that has no way on.
_DELAYS_TRUSTED_SECONDS = 10.0
#: The lock for making quorum queues. No queue has this name.
QUORUM_LOCK = "~making"


@contextmanager
def errors_translated(doing: str) -> Iterator[None]:
    """Turn pika's and sockets' errors into drivetrain's."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise translated(error, doing) from error


class ConnectionManager:
    """Keeps one open connection to the first host that accepts one. Thread-safe."""

    def __init__(self, options: Options, purpose: str) -> None:
        """Make it; the first use connects.

        Args:
            options: the options.
            purpose: the end of the connection's name in RabbitMQ.
        """
        self._options, self._purpose = options, purpose
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def connection(self) -> Connection:
        """The open connection; connects if there is none, trying each host in turn.

        Raises:
            ServiceError: no host accepts a connection.
        """
        found = self._connection
        if found is not None and found.error is None:
            return found
        with self._lock:
            if self._connection is None or self._connection.error is not None:
                self._connection = self._connect()
            return self._connection

    def open_connection(self) -> Connection | None:
        """The connection if there is one; it may be lost."""
        return self._connection

    def _connect(self) -> Connection:
        source = self._options.client.token
        token = _next_token(source) if source else None
        hosts = self._parameters(token)
        failed: list[tuple[ServiceError, Exception]] = []
        for parameters in hosts:
            try:
                connection = Connection(parameters, call_timeout_seconds=self._options.call_timeout_seconds)
            except CLIENT_ERRORS as error:
                failed.append(
                    (translated(error, f"connecting to RabbitMQ at {parameters.host}:{parameters.port}"), error)
                )
            else:
                if source and token:
                    _refresh_tokens(connection, source, token)
                return connection
        # The kind of error of a host that was reached, if one was; the message names every host.
        ours, cause = next((each for each in failed if not isinstance(each[1], OSError)), failed[0])
        others = "".join(f"; {each}" for each, _ in failed if each is not ours)
        raise type(ours)(f"{ours}{others}") from cause

    def _parameters(self, token: AccessToken | None) -> list[Parameters]:
        # Shows an operator of RabbitMQ the app, the process and the purpose of the connection.
        name = f"{self._options.namespace}@{socket.gethostname()}:{os.getpid()} {self._purpose}"
        try:
            return connection_parameters(self._options, name=name, token=token.value if token else "")
        except ConfigurationError as error:  # a file of certificates may be missing while it is replaced
            raise ServiceUnavailable(f"connecting to RabbitMQ: {error}") from error

    def channel(self, kind: Callable[[Connection, int], C]) -> C:
        """A new channel."""
        with errors_translated("opening a channel"):
            return self.connection().channel(kind)

    @contextmanager
    def admin_channel(self, doing: str) -> Iterator[Channel]:
        """A channel for a few requests. RabbitMQ closes it, and nothing else, when it refuses one.

        Args:
            doing: what the requests are for, as the start of an error message.
        """
        with errors_translated(doing):
            channel = self.connection().channel(Channel)
            try:
                yield channel
            finally:
                channel.close()

    def ask_if_exists(self, doing: str, method: Any) -> Any:
        """The reply to a request; None: what it asks for does not exist.

        Raises:
            ServiceError: RabbitMQ is not reached, or refuses the request for another reason.
        """
        try:
            with self.admin_channel(doing) as channel:
                return channel.request(method)[0]
        except ServiceError as error:
            if reply_code(error) == NOT_FOUND:
                return None
            raise

    def message_counts(self, names: Iterable[str]) -> dict[str, int | None]:
        """The number of ready messages in each of RabbitMQ's queues; None: there is no such queue.

        Raises:
            ServiceError: as `ask_if_exists`.
        """
        wanted, counts = list(names), dict[str, int | None]()
        for start in range(0, len(wanted), _REQUESTS_TOGETHER):
            counts |= self._message_counts(wanted[start : start + _REQUESTS_TOGETHER])
        return counts

    def _message_counts(self, names: Sequence[str]) -> dict[str, int | None]:
        """One round trip: each request has its own channel, because RabbitMQ closes it where there is no queue."""
        with ExitStack() as channels:
            requests: list[tuple[str, Channel, Request]] = []
            for name in names:
                channel = channels.enter_context(self.admin_channel(f"counting the messages of {name!r}"))
                requests.append((name, channel, channel.begin(spec.Queue.Declare(queue=name, passive=True))))
            return {name: _message_count(channel, request) for name, channel, request in requests}

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _message_count(channel: Channel, request: Request) -> int | None:
    try:
        return int(channel.replies(request)[0].message_count)
    except exceptions.ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return None
        raise


def _next_token(source: TokenSource) -> AccessToken:
    try:
        return source()
    except Exception as error:  # the application's function may raise anything; its message may hold a secret
        raise ServiceUnavailable(
            f"the function driver_options['amqp']['token'] raised {type(error).__name__}, so the driver cannot log in"
        ) from error


def _refresh_tokens(connection: Connection, source: TokenSource, token: AccessToken) -> None:
    """Give the connection the next token in time, in a thread that ends with the connection."""

    def run() -> None:
        wait_seconds = token.lifetime_seconds * _TOKEN_SHARE
        while not connection.ended.wait(wait_seconds):
            try:
                refreshed = _next_token(source)
                connection.update_secret(refreshed.value)
                wait_seconds = refreshed.lifetime_seconds * _TOKEN_SHARE
            except ServiceUnavailable as error:
                logger.warning("%s; trying again in %g seconds", error, _TOKEN_RETRY_SECONDS, exc_info=error.__cause__)
                wait_seconds = _TOKEN_RETRY_SECONDS
            except exceptions.AMQPError:
                return  # the connection is lost; the next one gets a token of its own

    threading.Thread(target=run, name=f"drivetrain-amqp token {connection.host}", daemon=True).start()


class Declarer:
    """Makes sure that queues and exchanges exist, once for each connection. Thread-safe.

    Args:
        manager: the connection.
        topology: the declarations.
        clock: the clock for locks.
    """

    def __init__(self, manager: ConnectionManager, topology: Topology, clock: Clock) -> None:
        self.topology = topology
        self.locks = ExclusiveLocks(manager.ask_if_exists, topology.names, clock)
        self._manager = manager
        self._lock = threading.Lock()
        self._delays_checked_at = 0.0

    def task_queues(self, names: Sequence[str]) -> None:
        """Make sure that these task queues exist, by RabbitMQ's names."""
        if self._manager.connection().declared.issuperset(names):
            return
        self._declare({name: partial(self.topology.task_queue, name) for name in names})

    def dead_queue(self, name: str) -> None:
        """Make sure that this queue of dead letters exists."""
        self._declare({name: partial(self.topology.dead_queue, name)})

    def delays(self, names: Iterable[str], waits: Iterable[int]) -> bool:
        """Make sure that messages for these queues can wait these numbers of ticks; whether something was declared."""
        ours, arguments, waits = self.topology.names, self.topology.delay_arguments(), set(waits)
        levels = delay_queues.levels_for(max(waits))
        self._forget_delays_after_a_while()
        wanted: Wanted = {("levels", levels): partial(self._exchanges, levels)}
        for each in (each for wait in waits for each in delay_queues.path(wait)):
            wanted[each] = partial(delay_queues.declare_delay_queue, ours, each, arguments)
        return self._declare(wanted | self._due(names, {delay_queues.levels_for(wait) for wait in waits}))

    def _forget_delays_after_a_while(self) -> None:
        now, declared = time.monotonic(), self._manager.connection().declared
        if now - self._delays_checked_at >= _DELAYS_TRUSTED_SECONDS:
            self._delays_checked_at = now
            declared.difference_update([key for key in list(declared) if _is_of_delays(key)])

    def declared_routes(self, names: Iterable[str]) -> list[Declaration]:
        """The declarations that this connection has made of these queues and their bindings for delayed messages."""
        declared, levels = self._manager.connection().declared, range(1, delay_queues.LEVELS + 1)
        known = [(name, level) for name in names for level in levels if ("due", name, level) in declared]
        # The queue itself comes with each of its bindings; it is needed once.
        return list(dict.fromkeys(each for name, level in known for each in self._due_route(name, level)))

    def _due(self, names: Iterable[str], levels: Iterable[int]) -> Wanted:
        """These queues, which an operator may have deleted, and their bindings for delays of these lengths."""
        wanted = [("due", name, each) for name in names for each in levels]
        return {key: partial(self._due_route, key[1], key[2]) for key in wanted}

    def _exchanges(self, levels: int) -> list[Declaration]:
        return delay_queues.declare_exchanges(self.topology.names, levels, self.topology.lost_arguments())

    def _due_route(self, name: str, levels: int) -> list[Declaration]:
        return [*self.topology.task_queue(name), delay_queues.due_binding(self.topology.names, name, levels)]

    def again(self, names: Sequence[str]) -> None:
        """Make queues again that were deleted, with the bindings by which they get all messages that are due later.

        Publishers of delayed messages rely on these bindings.
        """
        connection = self._manager.open_connection()
        if connection is not None:
            forget_declared(connection, names)
        levels = range(1, delay_queues.LEVELS + 1)
        queues: Wanted = {name: partial(self.topology.task_queue, name) for name in names}
        exchanges: Wanted = {("levels", delay_queues.LEVELS): partial(self._exchanges, delay_queues.LEVELS)}
        self._declare(queues | exchanges | self._due(names, levels))

    def _declare(self, wanted: Wanted) -> bool:
        """Declare what this connection has not declared yet; whether there was something."""
        connection = self._manager.connection()
        if wanted.keys() <= connection.declared:
            return False
        with self._lock:
            new = [key for key in wanted if key not in connection.declared]
            declarations = [each for key in new for each in wanted[key]()]
            methods = [each.method() for each in declarations]
            try:
                with (
                    self._quorum_queues_ready(declarations),
                    self._manager.admin_channel("declaring queues") as channel,
                ):
                    for start in range(0, len(methods), _REQUESTS_TOGETHER):
                        channel.request(*methods[start : start + _REQUESTS_TOGETHER])
            except ServiceError:
                connection.declared.clear()  # something that this relies on is gone
                raise
            connection.declared.update(new)
        return True

    @contextmanager
    def _quorum_queues_ready(self, declarations: Iterable[Declaration]) -> Iterator[None]:
        """Declare quorum queues so that each of them accepts messages afterwards.

        While another connection makes a quorum queue, the queue exists and refuses messages. A publisher would get an
        error, and a delay queue that passes a message on to it would try again after minutes.
        """
        names = [each.name for each in declarations if isinstance(each, DeclareQueue) and each.quorum]
        if not names:
            yield
        elif None in self._manager.message_counts(dict.fromkeys(names)).values():
            with self.locks.holding(QUORUM_LOCK):
                yield
                self._write_to_disk()
        else:
            self.locks.await_free(QUORUM_LOCK)
            yield

    def _write_to_disk(self) -> None:
        """Make RabbitMQ write to its disk that the new quorum queues exist.

        RabbitMQ 3.10 writes that when it makes the next quorum queue, or after a second. A node that is killed before
        starts the last one as an empty queue, without its confirmed messages. So the driver makes one more.
        """
        name = self.topology.names.last
        delete, declare = spec.Queue.Delete(queue=name), DeclareQueue(name, self.topology.lost_arguments()).method()
        with self._manager.admin_channel("declaring queues") as channel:
            channel.request(delete, declare, delete)  # the first, in case another process died before the last


def _is_of_delays(key: object) -> bool:
    return isinstance(key, delay_queues.DelayQueue) or (isinstance(key, tuple) and key[0] == "levels")


def forget_declared(connection: Connection, names: Iterable[str]) -> None:
    """Declare these queues and their bindings again when they are needed: somebody has deleted them."""
    for name in names:
        connection.declared.discard(name)
        levels = range(1, delay_queues.LEVELS + 1)
        connection.declared.difference_update([("due", name, level) for level in levels])
