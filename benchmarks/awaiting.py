"""How late a coroutine sees the end of a quick task, while many others await slow ones.

    python benchmarks/awaiting.py redis://127.0.0.1/0 --pending 10000

The worker is another process, but for memory://. Lateness counts from the last statement of the task, by the machine's
clock.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from drivetrain import App

_ROUNDS = 200
#: Before each task, in seconds.
_PAUSES_SECONDS = (0.005, 0.015)
#: What is awaited meanwhile ends after so long, in seconds.
_SLOW_SECONDS = 3600.0
#: How long the pending ones have to settle, in seconds.
_SETTLE_SECONDS = 3.0


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("broker")
    parser.add_argument("backend", nargs="?", help="by default the broker's URL")
    parser.add_argument("--pending", type=int, default=10_000, help="how many others are awaited")
    parser.add_argument("--work", action="store_true", help="be the worker")
    options = parser.parse_args()
    app = App(options.broker, options.backend)

    @app.task(name="quick")
    def quick() -> float:
        return time.time()

    if options.work:
        app.worker().run()
        return
    with app, _worker(app, options.broker):
        quick.send().get(timeout=60)
        late = asyncio.run(_measure(app, options.pending))
    cuts = statistics.quantiles(late, n=100, method="inclusive")
    threads = threading.active_count()
    print(
        f"{options.pending} pending: p50 {cuts[49]:.2f}, p95 {cuts[94]:.2f}, most {max(late):.2f} ms; {threads} threads"
    )


@contextmanager
def _worker(app: App, broker: str) -> Iterator[None]:
    if broker.startswith("memory:"):
        with app.worker():
            yield
        return
    process = subprocess.Popen([sys.executable, *sys.argv, "--work"])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _measure(app: App, pending: int) -> list[float]:
    """Milliseconds from the end of each quick task until it was seen."""
    quick = app.signature("quick")
    slow = await app.send_many_async(quick.set(delay=_SLOW_SECONDS) for _ in range(pending))
    waiting = [asyncio.ensure_future(one.get_async()) for one in slow]
    await asyncio.sleep(_SETTLE_SECONDS)
    late = []
    for _ in range(_ROUNDS):
        await asyncio.sleep(random.uniform(*_PAUSES_SECONDS))
        ended = await (await app.send_async(quick))
        late.append((time.time() - ended) * 1000)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return late


if __name__ == "__main__":
    _main()
