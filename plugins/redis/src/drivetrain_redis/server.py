"""Servers: connections to them, and calls sent over these."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import hiredis
from attrs import frozen

from drivetrain.contract import ServiceUnavailable, reset_after_fork
from drivetrain_redis.errors import CLIENT_ERRORS, mapped, of_reply
from drivetrain_redis.options import Options
from drivetrain_redis.scripts import Script
from drivetrain_redis.wire import Address, Wire, pack

__all__ = ["Call", "Server", "Single", "command", "script"]

T = TypeVar("T")

#: After these the connection leads to a server that is no longer the right one, or not yet.
_ELSEWHERE = ("READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED")


@frozen
class Call:
    """A command for the server of a key."""

    #: Any key that it is about; None: any server will do.
    key: bytes | None
    packed: bytes
    #: The script that it runs, if it does.
    script: Script | None = None
    writes: bool = True


def script(called: Script, keys: Sequence[bytes], arguments: Sequence[Any], beside: Sequence[bytes] = ()) -> Call:
    """A call of a script.

    Args:
        called: the script.
        keys: what it is about; of one slot on a cluster.
        arguments: what else it is told.
        beside: on a cluster, what the keys beside these end with. A slot that is on its way to another node has some of
            its keys there and some here; the cluster refuses such a call (TRYAGAIN) if it knows all of them.
    """
    if beside:
        keys = [*keys, *(key + end for key in keys for end in beside)]
    packed = pack(("EVALSHA", called.sha, len(keys), *keys, *arguments))
    return Call(keys[0] if keys else None, packed, called)


def command(*arguments: Any, key: bytes | None = None, writes: bool = True) -> Call:
    """A call of a plain command."""
    return Call(key, pack(arguments), None, writes)


class Server(Protocol):
    """What calls are sent to: one server, or a cluster. Thread-safe."""

    #: Whether keys of different tags may be used in one call.
    whole: bool

    @property
    def generation(self) -> int:
        """Another number when connections were lost: the server may be another one now."""
        ...

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Send calls, all at once; their replies in order.

        Raises:
            ServiceError: any of them failed; others may have been done.
        """
        ...

    def lanes(self, keys: Sequence[bytes]) -> Iterable[Sequence[int]]:
        """The places of keys, split so that each part can be used in one call."""
        ...

    def every(self, arguments: Sequence[Any]) -> list[Any]:
        """The reply of each master to a command."""
        ...

    def scan(self, pattern: bytes, count: int, position: bytes = b"") -> Iterable[tuple[bytes, list[bytes]]]:
        """The names of keys, by pieces; a key may be named twice.

        With each piece goes the position at which the next one begins, empty after the last; a later call may go on
        from there.
        """
        ...

    def connect(self) -> Wire:
        """A connection of one's own, to any server."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...


class Pool:
    """Connections to one server that nobody uses now. Thread-safe without a lock: a deque's ends are."""

    def __init__(self, make: Callable[[], Wire]) -> None:
        self._make = make
        self._free: deque[Wire] = deque()
        #: How often all connections were dropped. Those that were made before are used no more.
        self.generation = 0
        reset_after_fork(self)

    def take(self) -> Wire:
        """A connection, a new one if none is free."""
        try:
            return self._free.pop()
        except IndexError:
            generation = self.generation
            wire = self._make()
            wire.generation = generation
            return wire

    def give_back(self, wire: Wire) -> None:
        """Let others use it."""
        if wire.generation == self.generation:
            self._free.append(wire)
        else:
            wire.close()

    def drop(self) -> None:
        """Close those that are free, and those that are used when they are given back."""
        self.generation += 1
        with suppress(IndexError):
            while True:
                self._free.pop().close()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: they are the parent's."""
        # Not closed: a TLS connection would be told goodbye in the parent's name. They end with their last reference.
        self._free = deque()
        self.generation += 1


class Single:
    """One server, or the present master of those that sentinels watch.

    Args:
        options: of the URL.
        locate: where it is now.
        check: called with each new connection but the first one's successors of the same server.
    """

    whole = True

    def __init__(self, options: Options, locate: Callable[[], Address], check: Callable[[Wire], None]) -> None:
        self._options = options
        self._locate = locate
        self._check = check
        self._pool = Pool(self.connect)

    @property
    def generation(self) -> int:
        """See `Server.generation`."""
        return self._pool.generation

    def connect(self) -> Wire:
        """See `Server.connect`."""
        wire = Wire(self._options, self._locate())
        try:
            self._check(wire)
        except BaseException:
            wire.close()
            raise
        return wire

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """See `Server.run`."""
        try:
            wire = self._pool.take()
            try:
                transmit(wire, calls)
                replies = collect(wire, calls)
                if self._options.wait_replicas:
                    await_replicas(wire, calls, self._options)
            except BaseException:
                wire.close()
                self._pool.drop()
                raise
        except CLIENT_ERRORS as error:
            raise mapped(error, self._options.shown) from error
        self._pool.give_back(wire)
        for reply in replies:
            if type(reply) is hiredis.ReplyError:
                self._fail(reply)
        return replies

    def _fail(self, error: hiredis.ReplyError) -> None:
        if str(error).startswith(_ELSEWHERE):
            self._pool.drop()  # the next call looks anew for the server, and asks what it is
            if self._options.master:
                raise ServiceUnavailable(f"{self._options.shown}: {error}; a failover is going on") from error
        raise of_reply(error, self._options.shown) from error

    def lanes(self, keys: Sequence[bytes]) -> Iterable[Sequence[int]]:
        """See `Server.lanes`."""
        return (range(len(keys)),)

    def every(self, arguments: Sequence[Any]) -> list[Any]:
        """See `Server.every`."""
        return self.run([command(*arguments)])

    def scan(self, pattern: bytes, count: int, position: bytes = b"") -> Iterable[tuple[bytes, list[bytes]]]:
        """See `Server.scan`."""
        cursor: Any = position or b"0"
        while True:
            ((cursor, names),) = self.run([command("SCAN", cursor, "MATCH", pattern, "COUNT", count, writes=False)])
            if cursor == b"0":
                yield b"", names
                return
            yield cursor, names

    def close(self) -> None:
        """See `Server.close`."""
        self._pool.drop()


def transmit(wire: Wire, calls: Sequence[Call]) -> None:
    """Send calls over a connection; `collect` reads the replies."""
    wire.send(calls[0].packed if len(calls) == 1 else b"".join([call.packed for call in calls]))


def collect(wire: Wire, calls: Sequence[Call]) -> list[Any]:
    """The replies to calls that were sent, in order, errors among them.

    A script that the server does not know was not run: it is made known and called again.
    """
    replies = [wire.read() for _ in calls]
    for place, reply in enumerate(replies):
        known = calls[place].script
        if known is not None and type(reply) is hiredis.ReplyError and str(reply).startswith("NOSCRIPT"):
            replies[place] = _teach(wire, known, calls[place])
    return replies


def _teach(wire: Wire, called: Script, call: Call) -> Any:
    wire.send(pack(("SCRIPT", "LOAD", called.source)) + call.packed)
    taught, reply = wire.read(), wire.read()
    return taught if type(taught) is hiredis.ReplyError else reply


def await_replicas(wire: Wire, calls: Sequence[Call], options: Options) -> None:
    """Return when as many replicas as the URL says have what was written.

    Raises:
        TimeoutError: they have not, in time.
    """
    if options.wait_replicas and any(call.writes for call in calls):
        reached = wire.ask("WAIT", options.wait_replicas, int(options.timeout_seconds * 500))
        if reached < options.wait_replicas:
            wanted = options.wait_replicas
            raise TimeoutError(f"written, and confirmed by {reached} of {wanted} replicas in time (wait_replicas)")
