"""Where a contestant works: its directory, its servers, how many tasks and processes at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from attrs import asdict, field, frozen

__all__ = ["Place", "Server"]


@frozen
class Server:
    """A private server that runs now."""

    url: str
    #: Its process, whose time is counted.
    pid: int


@frozen(kw_only=True)
class Place:
    """What a contestant is made with, in the process that sends and in its workers."""

    #: For its files.
    directory: Path
    #: By the name of the service.
    servers: Mapping[str, Server] = field(factory=dict)
    #: How many tasks a worker process runs at a time.
    concurrency: int = 1
    #: How many worker processes there are.
    processes: int = 1

    def as_json(self) -> str:
        """To be given to another process."""
        return json.dumps({**asdict(self), "directory": str(self.directory)})

    @classmethod
    def from_json(cls, text: str) -> Place:
        """What `as_json` gave."""
        found = json.loads(text)
        servers = {name: Server(**server) for name, server in found["servers"].items()}
        return cls(**{**found, "directory": Path(found["directory"]), "servers": servers})
