"""One process of the benchmarks: ``measure`` takes one measure of one contestant, ``work`` is its worker."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from contestants import ENTRIES

__all__ = ["command"]


def command(name: str, *arguments: object) -> list[str]:
    """What to run, after the interpreter, for `measure` or `work` with these arguments."""
    return [__file__, name, *map(str, arguments)]


def measure(name: str, entry: str, threads: int, size: int, where: Path) -> None:
    """Print what was measured, as JSON."""
    from measures import MEASURES  # a worker does not need them

    with TemporaryDirectory(dir=where) as directory:
        contestant = ENTRIES[entry].make(Path(directory), threads)
        print(json.dumps({"setup": contestant.setup, "values": dict(MEASURES[name].run(contestant, size))}))


def work(entry: str, directory: Path, threads: int) -> None:
    """Be the worker; print ``ready`` when it is."""
    ENTRIES[entry].make(directory, threads).work(lambda: print("ready", flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.set_defaults(run=measure)
    measuring.add_argument("name")
    measuring.add_argument("entry")
    measuring.add_argument("threads", type=int)
    measuring.add_argument("size", type=int)
    measuring.add_argument("where", type=Path)
    working = commands.add_parser("work")
    working.set_defaults(run=work)
    working.add_argument("entry")
    working.add_argument("directory", type=Path)
    working.add_argument("threads", type=int)
    options = vars(parser.parse_args())
    options.pop("run")(**options)


if __name__ == "__main__":
    main()
