"""Redis: plain, with a password, over TLS or a unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.processes import ServerProcess, free_port
from services.required import program

__all__ = ["RedisServer"]


class RedisServer:
    """A private Redis. What it has acknowledged survives `kill`, where ``durable``."""

    def __init__(self, directory: Path, *, durable: bool = True, options: tuple[str, ...] = (), **client: Any) -> None:
        """Describe it; `start` starts it.

        Args:
            directory: of its own.
            durable: whether every write is on disk before it is acknowledged.
            options: more command-line options of the server.
            **client: how a client of the redis package reaches it, beside host and port; for `ready`.
        """
        self.port = free_port()
        self._client: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, **client}
        appending = ("--appendonly", "yes", "--appendfsync", "always") if durable else ("--appendonly", "no")
        directory.mkdir(parents=True, exist_ok=True)
        self.process = ServerProcess(
            [
                program("redis", "redis-server"),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""),
                *("--enable-debug-command", "local", *appending, *options),
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
