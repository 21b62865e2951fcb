"""Memcached: plain, full, with a password, over TLS or a unix socket."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

from services.processes import ServerProcess, free_port
from services.required import program

__all__ = ["MemcachedServer"]

#: The sizes of small items that Memcached tells apart (bytes), and what it needs of them for the head and the key.
_SIZES = (96, 120, 152, 192, 240, 304, 384, 480, 600, 752)
_HEAD_BYTES = 76


class MemcachedServer:
    """A private Memcached. It keeps nothing when it ends."""

    def __init__(self, directory: Path, *, options: tuple[str, ...] = (), path: Path | None = None) -> None:
        """Describe it; `start` starts it.

        Args:
            directory: of its own, for its log.
            options: more command-line options of the server.
            path: of the unix socket on which it listens instead of a port.
        """
        self.port = free_port()
        self.path = path
        self._tls = "-Z" in options
        directory.mkdir(parents=True, exist_ok=True)
        where = ("-s", path, "-a", "0700") if path else ("-l", "127.0.0.1", "-p", str(self.port))
        as_root = ("-u", "root") if getpass.getuser() == "root" else ()
        self.process = ServerProcess(
            [program("memcached", "memcached"), *where, "-U", "0", *as_root, *options],
            log=directory / "log",
            ready=self.answers,
        )

    @property
    def url(self) -> str:
        """Without options."""
        return f"memcache://{self.path}" if self.path else f"memcache://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A client of the pymemcache package, for looking and for breaking."""
        from pymemcache.client.base import Client

        place = str(self.path) if self.path else ("127.0.0.1", self.port)
        return Client(place, default_noreply=False, connect_timeout=5, timeout=5)

    def answers(self) -> bool:
        """Whether it does; also one that wants a password first. Over TLS: whether it listens."""
        with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(str(self.path) if self.path else ("127.0.0.1", self.port))
            if self._tls:
                return True
            probe.sendall(b"version\r\n")
            return bool(probe.recv(64))

    def fill(self) -> None:
        """Store so much that what was there before, if it is small, is dropped. For a server with little memory.

        Memcached drops an item for another one of about its size.
        """
        client = self.client()
        room = 2 * int(client.stats("settings")[b"maxbytes"])
        for size in _SIZES:
            names = [f"filling-{size}-{number}" for number in range(room // size)]
            for first in range(0, len(names), 1_000):
                client.set_many(dict.fromkeys(names[first : first + 1_000], b"x" * (size - _HEAD_BYTES)))
        client.close()
