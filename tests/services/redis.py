"""Redis: plain, with a password, over TLS or a unix socket, as a cluster, and watched by sentinels."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.processes import ServerProcess, free_port
from services.required import program

__all__ = ["Certificates", "RedisCluster", "RedisSentinels", "RedisServer"]

_PATIENCE_SECONDS = 30.0
_SLOTS = 16_384


class RedisServer:
    """A private Redis. What it has acknowledged survives `kill`, where ``durable``."""

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = True,
        options: tuple[str, ...] = (),
        listens: bool = True,
        **client: Any,
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            directory: of its own.
            durable: whether every write is on disk before it is acknowledged.
            options: more command-line options of the server.
            listens: whether it listens to its port without TLS.
            **client: how a client of the redis package reaches it, beside host and port; for `ready`.
        """
        self.port = free_port()
        self.directory = directory
        place = {} if "unix_socket_path" in client else {"host": "127.0.0.1", "port": self.port}
        self._client: dict[str, Any] = {**place, **client}
        appending = ("--appendonly", "yes", "--appendfsync", "always") if durable else ("--appendonly", "no")
        directory.mkdir(parents=True, exist_ok=True)
        self.process = ServerProcess(
            [
                program("redis", "redis-server"),
                *("--port", str(self.port if listens else 0), "--bind", "127.0.0.1", "--dir", directory, "--save", ""),
                *("--enable-debug-command", "local", *appending),
                *(option.format(port=self.port) for option in options),
            ],
            log=directory / "log",
            ready=self.answers,
        )

    @property
    def url(self) -> str:
        """Without options."""
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A client of the redis package, for looking and for breaking."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis(**self._client, retry=Retry(NoBackoff(), 0))

    def answers(self) -> bool:
        """Whether it does."""
        with self.client() as client:
            return bool(client.ping())


class Certificates:
    """A certificate authority of our own, and a certificate of it for localhost."""

    def __init__(self, directory: Path) -> None:
        """Make them, in a directory of their own."""
        openssl = program("redis", "openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self.authority, self.certificate, self.key = (
            directory / name for name in ("ca.crt", "server.crt", "server.key")
        )
        names = directory / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        new = ("req", "-newkey", "rsa:2048", "-nodes")
        steps = (
            (*new, "-x509", "-days", "2", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.crt"),
            (*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"),
            (
                *("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
                *("-days", "2", "-extfile", "names", "-out", "server.crt"),
            ),
        )
        for step in steps:
            subprocess.run([openssl, *step], cwd=directory, check=True, capture_output=True)

    @property
    def options(self) -> tuple[str, ...]:
        """Of a server that listens to its port with TLS."""
        files = ("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key))
        return ("--tls-port", "{port}", *files, "--tls-ca-cert-file", str(self.authority), "--tls-auth-clients", "no")


class RedisCluster:
    """Three masters with a third of the slots each. Nothing is on disk."""

    def __init__(self, directory: Path) -> None:
        """Describe it; `start` starts it."""
        self.nodes: list[RedisServer] = []
        self._buses: list[int] = []
        for number in range(3):
            bus = free_port()
            options = (
                *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "15000"),
                *("--cluster-config-file", "nodes.conf"),
            )
            self.nodes.append(RedisServer(directory / f"{number}", durable=False, options=options))
            self._buses.append(bus)

    @property
    def url(self) -> str:
        """Without options."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes, and make them a cluster."""
        for node in self.nodes:
            node.process.start()
        share = -(-_SLOTS // len(self.nodes))
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                last = min(_SLOTS, (number + 1) * share) - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
        with self.nodes[0].client() as client:
            for node, bus in zip(self.nodes[1:], self._buses[1:], strict=True):
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
        _until(self.is_whole, "the nodes are a cluster")

    def is_whole(self) -> bool:
        """Whether every node knows all others, and that no slot is missing."""
        for node in self.nodes:
            with node.client() as client:
                told = client.execute_command("CLUSTER INFO")
            if not _tells(told, "cluster_known_nodes", str(len(self.nodes))):
                return False
            if not _tells(told, "cluster_state", "ok"):
                return False
        return True

    def kill(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.process.kill()


class RedisSentinels:
    """A master, a replica, and three sentinels that watch them under the name ``mymaster``.

    Nothing is on disk.
    """

    name = "mymaster"

    def __init__(self, directory: Path) -> None:
        """Describe it; `start` starts it."""
        quickly = ("--repl-diskless-sync-delay", "0")
        self.master = RedisServer(directory / "master", durable=False, options=quickly)
        replica_of = ("--replicaof", f"127.0.0.1 {self.master.port}")
        self.replica = RedisServer(directory / "replica", durable=False, options=(*quickly, *replica_of))
        self.ports = [free_port() for _ in range(3)]
        names = [secrets.token_hex(20) for _ in self.ports]
        self._sentinels = [self._sentinel(directory / f"sentinel{n}", n, names) for n in range(len(names))]

    @property
    def url(self) -> str:
        """Without options."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + f"/{self.name}/0"

    def start(self) -> None:
        """Start all, and return when the replica follows its master."""
        self.master.process.start()
        self.replica.process.start()
        _until(self._follows, "the replica follows its master")
        for sentinel in self._sentinels:
            sentinel.start()

    def fail_over(self) -> None:
        """Kill the master; returns when the sentinels have made the replica one."""
        self.master.process.kill()
        _until(self._is_promoted, "the replica is the master")

    def restart_as_replica(self) -> None:
        """Start the master that was killed, to follow the one that has taken its place."""
        self.master.process.start()
        with self.master.client() as client:
            client.replicaof("127.0.0.1", self.replica.port)

    def kill(self) -> None:
        """End all."""
        for process in (*self._sentinels, self.master.process, self.replica.process):
            process.kill()

    def _follows(self) -> bool:
        with self.replica.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")

    def _is_promoted(self) -> bool:
        with self.replica.client() as client:
            return bool(client.info("replication")["role"] == "master")

    def _sentinel(self, directory: Path, number: int, names: list[str]) -> ServerProcess:
        directory.mkdir(parents=True, exist_ok=True)
        port = self.ports[number]
        lines = [
            *(f"port {port}", "bind 127.0.0.1", f"dir {directory}", f"sentinel myid {names[number]}"),
            f"sentinel monitor {self.name} 127.0.0.1 {self.master.port} 2",
            f"sentinel down-after-milliseconds {self.name} 500",
            f"sentinel failover-timeout {self.name} 2000",
            f"sentinel known-replica {self.name} 127.0.0.1 {self.replica.port}",
        ]
        lines += [
            f"sentinel known-sentinel {self.name} 127.0.0.1 {self.ports[other]} {names[other]}"
            for other in range(len(names))
            if other != number
        ]
        file = directory / "sentinel.conf"  # rewritten by the sentinel
        file.write_text("\n".join(lines) + "\n")

        def answers() -> bool:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            with redis.Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())

        command = [program("redis", "redis-server"), file, "--sentinel"]
        return ServerProcess(command, log=directory / "log", ready=answers)


def _tells(told: Any, name: str, value: str) -> bool:
    if isinstance(told, dict):
        return str(told.get(name)) == value
    text = told.decode() if isinstance(told, bytes) else str(told)
    return f"{name}:{value}" in text.split()


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not _answer(holds):
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {_PATIENCE_SECONDS} s: {what}")
        time.sleep(0.02)


def _answer(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except Exception:
        return False
