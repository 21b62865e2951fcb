"""One process of the benchmarks: ``measure`` takes one measure of one contestant, ``work`` is one of its workers."""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version

from contestants import ENTRIES
from place import Place

__all__ = ["command"]


def command(name: str, *arguments: object) -> list[str]:
    """What to run, after the interpreter, for `measure` or `work` with these arguments."""
    return [__file__, name, *map(str, arguments)]


def measure(name: str, entry: str, size: int, place: str) -> None:
    """Print what was measured, as JSON."""
    from measures import MEASURES  # a worker does not need them

    contestant = ENTRIES[entry].make(Place.from_json(place))
    told = {
        "setup": contestant.setup,
        "crash_safe": contestant.crash_safe,
        "versions": {package: version(package) for package in contestant.packages},
        "values": dict(MEASURES[name].run(contestant, size)),
    }
    print(json.dumps(told), flush=True)
    os._exit(0)  # what some peers do with each handle at the end of the interpreter takes seconds


def work(entry: str, place: str, number: int) -> None:
    """Be a worker; print ``ready`` when it is."""
    ENTRIES[entry].make(Place.from_json(place), number).work(lambda: print("ready", flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.set_defaults(run=measure)
    measuring.add_argument("name")
    measuring.add_argument("entry")
    measuring.add_argument("size", type=int)
    measuring.add_argument("place")
    working = commands.add_parser("work")
    working.set_defaults(run=work)
    working.add_argument("entry")
    working.add_argument("place")
    working.add_argument("number", type=int)
    options = vars(parser.parse_args())
    options.pop("run")(**options)


if __name__ == "__main__":
    main()
