"""A worker process of limited and batched tasks, for checks that kill and stop it.

python -m drivetrain_contract_tests.workflows.limited_worker BROKER BACKEND FILE LEASE [PRELUDE]

FILE gets a line for every start and every end of a task, which no death takes back.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from attrs import frozen

from drivetrain import App, Batch, Concurrency

__all__ = ["PLACES", "Span", "read_spans", "register"]

#: How many tasks may run at the same time.
PLACES = 2
#: How long a task runs, in seconds.
_SECONDS = 0.05


@frozen
class Span:
    """A run of a task: its number, its process, and when it began and ended; None: its process has died."""

    number: int
    began: float
    ended: float | None


def register(app: App, path: Path) -> None:
    """Give ``app`` tasks that note their runs in a file: ``limited``, and ``rows`` in batches."""

    def note(word: str, number: int) -> None:
        line = json.dumps([word, number, time.time()]) + "\n"
        with path.open("ab", buffering=0) as file:
            file.write(line.encode())

    @app.task(name="limited", limits=[Concurrency("limited", PLACES)])
    def limited(number: int) -> int:
        note("began", number)
        time.sleep(_SECONDS)
        note("ended", number)
        return number

    @app.task(name="rows", batch=Batch(5, wait=0.2))
    def rows(numbers: list[int]) -> list[int]:
        for number in numbers:
            note("began", number)
        time.sleep(_SECONDS)
        for number in numbers:
            note("ended", number)
        return numbers


def read_spans(path: Path) -> list[Span]:
    """The runs so far."""
    spans: dict[int, list[Span]] = {}
    for word, number, at in map(json.loads, path.read_text("utf-8").splitlines() if path.exists() else []):
        runs = spans.setdefault(number, [])
        if word == "began":
            runs.append(Span(number, at, None))
        else:
            runs[-1] = Span(number, runs[-1].began, at)
    return [span for runs in spans.values() for span in runs]


def main() -> None:
    """Work until killed."""
    broker, backend, path, lease, *prelude = sys.argv[1:]
    exec("\n".join(prelude))  # noqa: S102  of the driver's author
    app = App(broker, backend, lease_seconds=float(lease), concurrency=4)
    register(app, Path(path))
    app.worker().run()


if __name__ == "__main__":
    main()
