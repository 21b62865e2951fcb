"""The contestants of the benchmarks. A module is imported only in processes that run it: it would count as memory."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from attrs import frozen

from contestants.base import Contestant

__all__ = ["ENTRIES", "Entry"]


@frozen(kw_only=True)
class Entry:
    """One row of the tables."""

    name: str
    #: ``module:Class`` in this package.
    path: str
    #: The name of the row that it is compared with; None: it is what others are compared with.
    rival: str | None = None
    #: Numbers of worker threads to choose from; the one that drains fastest is used for all measures.
    threads: tuple[int, ...] = (1, 2, 4, 8)
    #: Measures that mean nothing for it.
    without: frozenset[str] = frozenset()

    def make(self, directory: Path, threads: int) -> Contestant:
        """The contestant, in an empty directory."""
        module, _, name = self.path.partition(":")
        made: Contestant = getattr(import_module(f"contestants.{module}"), name)(directory, threads)
        made.entry = self.name
        return made


#: In the order in which they run. Rows of equal durability are compared; memory:// with the fastest that Huey has.
ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(name="drivetrain sqlite, full", path="drivetrain_sqlite:Full", rival="huey sqlite, fsync"),
        Entry(name="huey sqlite, fsync", path="huey_sqlite:Fsync"),
        Entry(name="drivetrain sqlite, normal", path="drivetrain_sqlite:Normal", rival="huey sqlite, no fsync"),
        Entry(name="huey sqlite, no fsync", path="huey_sqlite:NoFsync"),
        Entry(
            name="drivetrain memory",
            path="drivetrain_memory:Memory",
            rival="huey sqlite, no fsync",
            without=frozenset({"memory"}),  # it keeps all results in the process that would be weighed
        ),
    )
}
