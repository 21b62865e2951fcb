"""A client of a cluster: redis-py's node manager knows the nodes of the slots, and calls go to the right ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.cluster import ClusterNode, NodesManager
from redis.connection import Connection, SSLConnection
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from drivetrain.contract import ConnectionPool, reset_after_fork
from drivetrain_redis.connection import Address, ServerConnection, await_replicas, connecting, connection_pool
from drivetrain_redis.errors import CLIENT_ERRORS, mapped
from drivetrain_redis.options import Options
from drivetrain_redis.scripts import Call, command

__all__ = ["ClusterClient"]

#: How often a call follows a redirection: slots may move while it is on its way.
_REDIRECTIONS = 5

_ASKING = command("ASKING")


class ClusterClient:
    """A client of the masters of a cluster.

    redis-py's `NodesManager` finds the nodes by CLUSTER SLOTS. `RedisCluster` itself is not used: it sends one command
    at a time, and reads the server's list of commands, for which a user may lack the permission.

    Args:
        options: of the URL.
        check: called with each new connection.
    """

    supports_cross_slot = False

    def __init__(self, options: Options, check: Callable[[ServerConnection], None]) -> None:
        self._options = options
        self._check = check
        self._lock = threading.Lock()
        self._pools: dict[Address, ConnectionPool[ServerConnection]] = {}
        self._nodes: NodesManager | None = None
        #: Where slots have moved since the node manager has read them.
        self._moved: dict[int, Address] = {}
        #: The addresses that were known last; a cluster may have moved away from the hosts of the URL.
        self._known: list[tuple[str, int]] = []
        self.generation = 0
        reset_after_fork(self)

    # Nodes

    def _node_of(self, call: Call) -> Address:
        if call.key is None:
            return self._masters()[0]
        slot = key_slot(call.key)
        if slot in self._moved:
            return self._moved[slot]
        node = self._slots().get_node_from_slot(slot)
        return node.host, int(node.port)

    def _masters(self) -> list[tuple[str, int]]:
        return _addresses(self._slots())

    def _slots(self) -> NodesManager:
        return self._nodes or self._refresh_slots()

    def _refresh_slots(self) -> NodesManager:
        """Ask the cluster which node has which slot."""
        nodes = _node_manager(self._options, dict.fromkeys([*self._known, *self._options.hosts]))
        self._known = _addresses(nodes)
        self._nodes, self._moved = nodes, {}
        return nodes

    def _pool(self, address: Address) -> ConnectionPool[ServerConnection]:
        with self._lock:
            pool = self._pools.get(address)
            if pool is None:
                pool = self._pools[address] = connection_pool(lambda: self._connect(address))
            return pool

    def _connect(self, address: Address) -> ServerConnection:
        connection = ServerConnection(self._options, address)
        try:
            self._check(connection)
        except BaseException:  # raised again: nobody else has the connection
            connection.close()
            raise
        return connection

    def connect(self) -> ServerConnection:
        """See `Client.connect`. To any node that can be reached: a message that one publishes reaches all."""
        errors: list[Exception] = []
        for address in self._masters():
            try:
                return self._connect(address)
            except CLIENT_ERRORS as error:
                errors.append(error)
        self._forget()
        raise errors[0]

    # Calls

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """See `Client.run`."""
        try:
            replies: dict[int, Any] = {}
            nodes: dict[Address, list[int]] = {}
            for index, call in enumerate(calls):
                nodes.setdefault(self._node_of(call), []).append(index)
            self._exchange(calls, nodes, replies)
            if any(isinstance(reply, AskError) for reply in replies.values()):
                self._follow(calls, nodes, replies)
        except CLIENT_ERRORS as error:
            self._forget()
            raise mapped(error, self._options.shown) from error
        return [self._checked(replies[index]) for index in range(len(calls))]

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, ResponseError):
            raise mapped(reply, self._options.shown) from reply
        return reply

    def _exchange(self, calls: Sequence[Call], nodes: dict[Address, list[int]], replies: dict[int, Any]) -> None:
        """Send to all nodes, and then read from all."""
        used: list[tuple[ConnectionPool[ServerConnection], ServerConnection, list[int], list[Call]]] = []
        try:
            for address, indexes in nodes.items():
                pool = self._pool(address)
                connection = pool.take()
                part = [calls[index] for index in indexes]
                used.append((pool, connection, indexes, part))
                connection.send(part)
            for _, connection, indexes, part in used:
                replies.update(zip(indexes, connection.receive(part), strict=True))
                await_replicas(connection, part, self._options)
        except BaseException:  # raised again: some replies may be unread
            for pool, connection, _, _ in used:
                pool.discard(connection)
            raise
        for pool, connection, _, _ in used:
            pool.give_back(connection)

    def _follow(self, calls: Sequence[Call], nodes: dict[Address, list[int]], replies: dict[int, Any]) -> None:
        """Send calls again that went to the wrong node, which did not run them."""
        answered = {index: address for address, indexes in nodes.items() for index in indexes}
        for _ in range(_REDIRECTIONS):
            moved: dict[Address, list[int]] = {}
            asked: list[tuple[Address, int]] = []
            for index, reply in replies.items():
                if not isinstance(reply, AskError):
                    continue
                # Without a host, the node has the host of the one that answered.
                target: Address = (reply.host or answered[index][0], reply.port)
                if isinstance(reply, MovedError):
                    self._moved[reply.slot_id] = target
                    moved.setdefault(target, []).append(index)
                    answered[index] = target
                else:
                    asked.append((target, index))
            if not moved and not asked:
                return
            self._exchange(calls, moved, replies)
            for target, index in asked:
                replies[index] = self._ask(target, calls[index])
                answered[index] = target

    def _ask(self, address: Address, call: Call) -> Any:
        """The reply of a node that has not taken over the slot yet: it answers after ASKING, to one call."""
        connection = self._connect(address)
        try:
            reply = self._after_asking(connection, call)
            if call.script is not None and isinstance(reply, NoScriptError):
                connection.ask("SCRIPT", "LOAD", call.script.source)
                reply = self._after_asking(connection, call)
        finally:
            connection.close()
        return reply

    def _after_asking(self, connection: ServerConnection, call: Call) -> Any:
        plain = Call(call.key, call.packed)  # without its script: loading it would use up the ASKING
        connection.send([_ASKING, plain])
        _, reply = connection.receive([_ASKING, plain])
        return reply

    def by_slot(self, keys: Sequence[bytes]) -> Iterable[Sequence[int]]:
        """See `Client.by_slot`."""
        slots: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            slots.setdefault(key_slot(key), []).append(index)
        return slots.values()

    def run_on_masters(self, *arguments: Any) -> list[Any]:
        """See `Client.run_on_masters`."""
        return [self._on(address, command(*arguments)) for address in self._listed()]

    def scan(self, pattern: bytes, count: int, position: bytes = b"") -> Iterable[tuple[bytes, list[bytes]]]:
        """See `Client.scan`. A position names its master; if that is gone, the rest of its keys is left out."""
        masters = {f"{address[0]}:{address[1]}".encode(): address for address in self._listed()}
        begun, _, cursor = position.rpartition(b" ")
        for name in sorted(name for name in masters if name >= begun):
            at: Any = cursor if name == begun else b"0"
            while True:
                call = command("SCAN", at, "MATCH", pattern, "COUNT", count, writes=False)
                at, found = self._on(masters[name], call)
                if at == b"0":
                    break
                yield b"%s %s" % (name, at), found
            # Behind this master, and before the next one.
            yield (b"" if name == max(masters) else b"%s\0 0" % name), found

    def _listed(self) -> list[tuple[str, int]]:
        try:
            return self._masters()
        except CLIENT_ERRORS as error:
            raise mapped(error, self._options.shown) from error

    def _on(self, address: Address, call: Call) -> Any:
        replies: dict[int, Any] = {}
        try:
            self._exchange([call], {address: [0]}, replies)
        except CLIENT_ERRORS as error:
            self._forget()
            raise mapped(error, self._options.shown) from error
        return self._checked(replies[0])

    # Life

    def _forget(self) -> None:
        """Let the next call ask where the slots are: a node may be gone."""
        self.close()
        self._nodes = None

    def close(self) -> None:
        """See `Client.close`."""
        self.generation += 1
        with self._lock:
            pools = list(self._pools.values())
        for pool in pools:
            pool.clear()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: the locks may be held by threads of the parent."""
        self._lock = threading.Lock()
        self._nodes = None


def _addresses(nodes: NodesManager) -> list[tuple[str, int]]:
    return [(node.host, int(node.port)) for node in nodes.get_nodes_by_server_type("primary")]


def _node_manager(options: Options, addresses: Iterable[tuple[str, int]]) -> NodesManager:
    """A node manager, which has read the slots, and keeps no connection open.

    Raises:
        redis.RedisClusterException, redis.RedisError, OSError: no node could be asked, or none has slots.
    """
    # A cluster whose nodes are not to be reached by their own address names none: all have the host of the URL.
    default = options.hosts[0][0]
    try:
        with connecting(options):
            return NodesManager(
                [ClusterNode(host, port) for host, port in addresses],  # type: ignore[no-untyped-call]
                from_url=True,  # so that the arguments are those of connections
                require_full_coverage=False,
                address_remap=lambda address: (address[0] or default, address[1]),
                connection_class=SSLConnection if options.tls else Connection,
                **options.connection_arguments(),
            )
    except IndexError as error:
        raise RedisConnectionError("no node of the cluster has slots; create the cluster first") from error
