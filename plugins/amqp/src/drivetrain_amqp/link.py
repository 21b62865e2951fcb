"""A connection that is made when it is needed, and made anew when it was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from pika import spec

from drivetrain.contract import Clock, ServiceError
from drivetrain_amqp import ladder
from drivetrain_amqp.asking import message_counts
from drivetrain_amqp.channel import Channel
from drivetrain_amqp.connection import Connection
from drivetrain_amqp.errors import CLIENT_ERRORS, translated
from drivetrain_amqp.exclusion import Exclusion
from drivetrain_amqp.options import Options
from drivetrain_amqp.topology import Declaration, DeclareQueue, Topology

__all__ = ["MAKING", "Link", "errors_translated", "forget_declared"]

C = TypeVar("C", bound=Channel)
#: What is to be there, by what it is remembered as.
Wanted = dict[object, Callable[[], list[Declaration]]]

#: Requests that are sent before the answers are read.
_TOGETHER = 50
#: After so long the queues and exchanges of delays are declared once more when they are used: to somebody who tidies up
#: they look empty and useless, and nobody tells us of a message that has no way on.
_LADDER_SECONDS = 10.0
#: The lock of whoever makes quorum queues; no queue has this name.
MAKING = "~making"


@contextmanager
def errors_translated(doing: str) -> Iterator[None]:
    """Raise our errors from pika's and the socket's."""
    try:
        yield
    except CLIENT_ERRORS as error:
        raise translated(error, doing) from error


class Link:
    """One connection at a time, and what was declared by it. Thread-safe."""

    def __init__(self, options: Options, topology: Topology, clock: Clock) -> None:
        """Make it; it connects when it is first used.

        Args:
            options: of the URL.
            topology: what to declare.
            clock: to wait by.
        """
        self._options = options
        self.topology = topology
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self.exclusion = Exclusion(self.admin, topology.names, clock)
        self._declaring = threading.Lock()
        self._ladder_since = 0.0

    def connection(self) -> Connection:
        """The connection; connects if there is none, trying each host in turn.

        Raises:
            ServiceError: no host can be used.
        """
        found = self._connection
        if found is not None and found.error is None:
            return found
        with self._lock:
            if self._connection is None or self._connection.error is not None:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> Connection:
        failed: list[tuple[ServiceError, Exception]] = []
        for host in self._options.hosts:
            try:
                return Connection(self._options, host)
            except CLIENT_ERRORS as error:
                failed.append((translated(error, f"connecting to RabbitMQ at {host}"), error))
        # What each has said, in the words of the one that was reached, if any was.
        ours, cause = next((each for each in failed if not isinstance(each[1], OSError)), failed[0])
        others = "".join(f"; {each}" for each, _ in failed if each is not ours)
        raise type(ours)(f"{ours}{others}") from cause

    def channel(self, kind: Callable[[Connection, int], C]) -> C:
        """A new channel."""
        with errors_translated("opening a channel"):
            return self.connection().channel(kind)

    @contextmanager
    def admin(self, doing: str) -> Iterator[Channel]:
        """A channel for a few requests. One that is refused ends the channel, and nothing else."""
        with errors_translated(doing):
            channel = self.connection().channel(Channel)
            try:
                yield channel
            finally:
                channel.close()

    # Declaring

    def declare_task_queues(self, names: Sequence[str]) -> None:
        """Make sure that these queues, by RabbitMQ's names, exist."""
        if self.connection().declared.issuperset(names):
            return
        self._declare({name: partial(self.topology.task_queue, name) for name in names})

    def declare_dead_queue(self, name: str) -> None:
        """Make sure that this queue of dead letters exists."""
        self._declare({name: partial(self.topology.dead_queue, name)})

    def declare_delays(self, names: Iterable[str], waits: Iterable[int]) -> bool:
        """Make sure that messages for these queues can wait so many ticks; whether that took time."""
        ours, arguments, waits = self.topology.names, self.topology.rung_arguments(), set(waits)
        levels = ladder.levels_for(max(waits))
        self._doubt_ladder()
        wanted: Wanted = {("levels", levels): partial(self._exchanges, levels)}
        for each in (each for wait in waits for each in ladder.path(wait)):
            wanted[each] = partial(ladder.rung, ours, each, arguments)
        return self._declare(wanted | self._due(names, {ladder.levels_for(wait) for wait in waits}))

    def _doubt_ladder(self) -> None:
        """Take it, after a while, that what delays need is not there any more."""
        now, declared = time.monotonic(), self.connection().declared
        if now - self._ladder_since >= _LADDER_SECONDS:
            self._ladder_since = now
            declared.difference_update([key for key in list(declared) if _of_ladder(key)])

    def declared_ways(self, names: Iterable[str]) -> list[Declaration]:
        """These queues, and by what they get delayed messages, as far as this connection has declared it before."""
        declared, levels = self.connection().declared, range(1, ladder.LEVELS + 1)
        known = [(name, level) for name in names for level in levels if ("due", name, level) in declared]
        # The queue itself comes with each of its bindings, and is to be there once.
        return list(dict.fromkeys(each for name, level in known for each in self._way(name, level)))

    def _due(self, names: Iterable[str], levels: Iterable[int]) -> Wanted:
        """These queues, which may be gone, and by what they get their messages whose delays have so many digits."""
        wanted = [("due", name, each) for name in names for each in levels]
        return {key: partial(self._way, key[1], key[2]) for key in wanted}

    def _exchanges(self, levels: int) -> list[Declaration]:
        return ladder.exchanges(self.topology.names, levels, self.topology.lost_arguments())

    def _way(self, name: str, levels: int) -> list[Declaration]:
        return [*self.topology.task_queue(name), ladder.due_binding(self.topology.names, name, levels)]

    def declare_again(self, names: Sequence[str]) -> None:
        """Somebody has deleted these queues: make them once more, and what brings them all that is due later.

        Those who have published delayed messages for them take it that this is still there.
        """
        if self._connection is not None:
            forget_declared(self._connection, names)
        levels = range(1, ladder.LEVELS + 1)
        queues: Wanted = {name: partial(self.topology.task_queue, name) for name in names}
        exchanges: Wanted = {("levels", ladder.LEVELS): partial(self._exchanges, ladder.LEVELS)}
        self._declare(queues | exchanges | self._due(names, levels))

    def _declare(self, wanted: Wanted) -> bool:
        """Declare what this connection has not declared yet; whether there was anything."""
        connection = self.connection()
        if wanted.keys() <= connection.declared:
            return False
        with self._declaring:
            new = [key for key in wanted if key not in connection.declared]
            declarations = [each for key in new for each in wanted[key]()]
            methods = [each.method() for each in declarations]
            try:
                with self._making(declarations), self.admin("declaring queues") as channel:
                    for start in range(0, len(methods), _TOGETHER):
                        channel.ask(*methods[start : start + _TOGETHER])
            except ServiceError:
                connection.declared.clear()  # something that this relies on is gone
                raise
            connection.declared.update(new)
        return True

    @contextmanager
    def _making(self, declarations: Iterable[Declaration]) -> Iterator[None]:
        """Declare quorum queues so that each is ready afterwards.

        One that another connection is just making is there already, and refuses messages. A sender would hear of it; a
        queue of the ladder that passes a message on to it tries again after minutes.
        """
        names = [each.name for each in declarations if isinstance(each, DeclareQueue) and each.quorum]
        if not names:
            yield
        elif None in message_counts(self.admin, dict.fromkeys(names)).values():
            with self.exclusion.holding(MAKING):
                yield
                self._write_down()
        else:
            self.exclusion.await_free(MAKING)
            yield

    def _write_down(self) -> None:
        """Make RabbitMQ write to its disk that the quorum queues exist that were just made.

        RabbitMQ 3.10 does so when it makes the next one, or after a second. A node that is killed before then starts
        the last one again as an empty queue, without the messages that it had confirmed. So one more is made here.
        """
        name = self.topology.names.last
        delete, declare = spec.Queue.Delete(queue=name), DeclareQueue(name, self.topology.lost_arguments()).method()
        with self.admin("declaring queues") as channel:
            channel.ask(delete, declare, delete)  # the first, in case another process died before the last

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _of_ladder(key: object) -> bool:
    return isinstance(key, ladder.Rung) or (isinstance(key, tuple) and key[0] == "levels")


def forget_declared(connection: Connection, names: Iterable[str]) -> None:
    """Somebody has deleted these queues: they are to be declared again, with what leads to them."""
    for name in names:
        connection.declared.discard(name)
        connection.declared.difference_update([("due", name, level) for level in range(1, ladder.LEVELS + 1)])
