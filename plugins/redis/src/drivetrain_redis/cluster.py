"""A cluster: which node has which slot, and calls sent to the right ones."""

from __future__ import annotations

import threading
from binascii import crc_hqx
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis

from drivetrain_redis.errors import CLIENT_ERRORS, ConnectionLost, mapped, of_reply
from drivetrain_redis.options import Options
from drivetrain_redis.server import Call, Pool, await_replicas, collect, command, transmit
from drivetrain_redis.wire import Address, Wire, pack

__all__ = ["Cluster", "slot_of"]

_SLOTS = 16_384
#: How often a call is sent on to another node: slots may move while it is on its way.
_REDIRECTIONS = 5

_ASKING = pack(("ASKING",))


def slot_of(key: bytes) -> int:
    """The slot of a key: that of what stands in its first braces, if something does."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % _SLOTS


class Cluster:
    """The masters of a cluster.

    Args:
        options: of the URL.
        check: called with each new connection.
    """

    whole = False

    def __init__(self, options: Options, check: Callable[[Wire], None]) -> None:
        self._options = options
        self._check = check
        self._lock = threading.Lock()
        self._pools: dict[Address, Pool] = {}
        #: The node of each slot; empty until it is asked for.
        self._nodes: dict[int, Address] = {}
        #: How often all of this was forgotten.
        self.generation = 0

    # Where

    def _node_of(self, call: Call) -> Address:
        nodes = self._nodes or self._learn()
        if call.key is None:
            return next(iter(nodes.values()))
        slot = slot_of(call.key)
        if slot not in nodes:
            nodes = self._learn()
        if slot not in nodes:
            raise ConnectionLost(f"no node of the cluster has slot {slot}")
        return nodes[slot]

    def _learn(self) -> dict[int, Address]:
        """Ask the nodes which one has which slot."""
        told = []
        for address in dict.fromkeys([*self._nodes.values(), *self._options.hosts]):
            try:
                wire = Wire(self._options, address)
                try:
                    ranges = wire.ask("CLUSTER", "SLOTS")
                finally:
                    wire.close()
            except CLIENT_ERRORS as error:
                told.append(f"{_shown(address)}: {error}")
                continue
            nodes = {
                slot: _address(master, address) for first, last, master, *_ in ranges for slot in range(first, last + 1)
            }
            if nodes:
                self._nodes = nodes
                return nodes
            told.append(f"{_shown(address)} has no slots")
        raise ConnectionLost("no node of the cluster tells where its slots are (" + "; ".join(told) + ")")

    def _masters(self) -> list[Address]:
        return list(dict.fromkeys((self._nodes or self._learn()).values()))

    def _pool(self, address: Address) -> Pool:
        with self._lock:
            pool = self._pools.get(address)
            if pool is None:
                pool = self._pools[address] = Pool(lambda: self._connect(address))
            return pool

    def _connect(self, address: Address) -> Wire:
        wire = Wire(self._options, address)
        self._check(wire)
        return wire

    # What

    def connect(self) -> Wire:
        """See `Server.connect`. To any node that can be reached: what is published on one is heard on all."""
        errors: list[Exception] = []
        for address in self._masters():
            try:
                return self._connect(address)
            except CLIENT_ERRORS as error:
                errors.append(error)
        self._forget()
        raise errors[0]

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """See `Server.run`."""
        try:
            replies: dict[int, Any] = {}
            where: dict[Address, list[int]] = {}
            for place, call in enumerate(calls):
                where.setdefault(self._node_of(call), []).append(place)
            self._exchange(calls, where, replies)
            self._follow(calls, replies)
        except CLIENT_ERRORS as error:
            self._forget()
            raise mapped(error, self._options.shown) from error
        for place in range(len(calls)):
            if type(replies[place]) is hiredis.ReplyError:
                raise of_reply(replies[place], self._options.shown) from replies[place]
        return [replies[place] for place in range(len(calls))]

    def _exchange(self, calls: Sequence[Call], where: dict[Address, list[int]], replies: dict[int, Any]) -> None:
        """Send to all nodes, and then read from all."""
        used: list[tuple[Pool, Wire, list[int], list[Call]]] = []
        try:
            for address, places in where.items():
                pool = self._pool(address)
                wire = pool.take()
                mine = [calls[place] for place in places]
                used.append((pool, wire, places, mine))
                transmit(wire, mine)
            for _, wire, places, mine in used:
                replies.update(zip(places, collect(wire, mine), strict=True))
                await_replicas(wire, mine, self._options)
        except BaseException:
            for pool, wire, _, _ in used:
                wire.close()  # who knows which replies were read
                pool.drop()
            raise
        for pool, wire, _, _ in used:
            pool.give_back(wire)

    def _follow(self, calls: Sequence[Call], replies: dict[int, Any]) -> None:
        """Send on what was sent to the wrong node: it was not done there."""
        for _ in range(_REDIRECTIONS):
            moved: dict[Address, list[int]] = {}
            asked: list[tuple[Address, int]] = []
            for place, reply in replies.items():
                word, slot, target = _redirection(reply)
                if word == "MOVED":
                    self._nodes = {**self._nodes, int(slot): _parsed(target)}
                    moved.setdefault(_parsed(target), []).append(place)
                elif word == "ASK":
                    asked.append((_parsed(target), place))
            if not moved and not asked:
                return
            self._exchange(calls, moved, replies)
            for address, place in asked:
                replies[place] = self._ask(address, calls[place])

    def _ask(self, address: Address, call: Call) -> Any:
        wire = self._connect(address)
        try:
            wire.send(_ASKING)
            wire.read()
            transmit(wire, [call])
            reply = wire.read()
            if type(reply) is hiredis.ReplyError and str(reply).startswith("NOSCRIPT") and call.script is not None:
                wire.ask("SCRIPT", "LOAD", call.script.source)
                wire.send(_ASKING)
                wire.read()
                transmit(wire, [call])
                reply = wire.read()
        finally:
            wire.close()
        return reply

    def lanes(self, keys: Sequence[bytes]) -> Iterable[Sequence[int]]:
        """See `Server.lanes`."""
        lanes: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            lanes.setdefault(slot_of(key), []).append(place)
        return lanes.values()

    def every(self, arguments: Sequence[Any]) -> list[Any]:
        """See `Server.every`."""
        return [reply for address in self._listed() for reply in self._on(address, command(*arguments))]

    def scan(self, pattern: bytes, count: int, position: bytes = b"") -> Iterable[tuple[bytes, list[bytes]]]:
        """See `Server.scan`. A position names its master; if that is gone, the rest of its keys is left out."""
        masters = {_shown(address).encode(): address for address in self._listed()}
        begun, _, cursor = position.rpartition(b" ")
        for name in sorted(name for name in masters if name >= begun):
            at: Any = cursor if name == begun else b"0"
            while True:
                call = command("SCAN", at, "MATCH", pattern, "COUNT", count, writes=False)
                ((at, found),) = self._on(masters[name], call)
                if at == b"0":
                    break
                yield b"%s %s" % (name, at), found
            # Behind this master, and before the next one.
            yield (b"" if name == max(masters) else b"%s\0 0" % name), found

    def _listed(self) -> list[Address]:
        try:
            return self._masters()
        except CLIENT_ERRORS as error:
            raise mapped(error, self._options.shown) from error

    def _on(self, address: Address, call: Call) -> list[Any]:
        replies: dict[int, Any] = {}
        try:
            self._exchange([call], {address: [0]}, replies)
        except CLIENT_ERRORS as error:
            self._forget()
            raise mapped(error, self._options.shown) from error
        if type(replies[0]) is hiredis.ReplyError:
            raise of_reply(replies[0], self._options.shown) from replies[0]
        return [replies[0]]

    def _forget(self) -> None:
        """Ask anew where the slots are before the next call; a node may be gone."""
        self._nodes = {}
        self.close()

    def close(self) -> None:
        """See `Server.close`."""
        self.generation += 1
        with self._lock:
            pools = list(self._pools.values())
        for pool in pools:
            pool.drop()


def _redirection(reply: Any) -> tuple[str, str, str]:
    if type(reply) is hiredis.ReplyError:
        words = str(reply).split(" ")
        if words[0] in {"MOVED", "ASK"} and len(words) == 3:
            return words[0], words[1], words[2]
    return "", "", ""


def _parsed(target: str) -> Address:
    host, _, port = target.rpartition(":")
    return host, int(port)


def _address(master: list[Any], asked: Address) -> Address:
    host, port = master[0], master[1]
    # A node that does not know its own address is the one that was asked.
    return (host.decode() if host else asked[0]), int(port)


def _shown(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"
