"""Work that keeps a processor busy, in child processes: threads of one process would take turns at Python's lock.

A task of this pool stands at the top of a module, so that a child can import it. If a child dies, its task is given
back.
"""

import os
import tempfile
from pathlib import Path

from drivetrain import App, chord

app = App(f"sqlite:///{Path(tempfile.gettempdir(), f'drivetrain-primes-{os.getpid()}.db')}", concurrency=2)


@app.task(pool="processes")
def count_primes(first: int, end: int) -> tuple[int, int]:
    found = sum(1 for n in range(max(first, 2), end) if all(n % d for d in range(2, int(n**0.5) + 1)))
    return found, os.getpid()


@app.task
def report(counts: list[tuple[int, int]]) -> str:
    elsewhere = all(process != os.getpid() for _, process in counts)
    where = "in child processes" if elsewhere else "in the worker itself"
    return f"{sum(found for found, _ in counts)} primes below 20000, counted {where}"


def main() -> None:
    parts = [count_primes.s(first, first + 2500) for first in range(0, 20_000, 2500)]
    with app.worker():
        print(app.send(chord(parts, report.s())).get(timeout=60))


if __name__ == "__main__":
    main()
