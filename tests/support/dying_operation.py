"""Runs an operation, and kills its own process with SIGKILL before the nth call of a driver: run as a process.

python dying_operation.py URL OPERATION NTH
"""

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from drivetrain import App
from drivetrain.app.bulk import retry, runner, selections, work

#: How long the operation of a process that has died waits for the next one, in seconds.
LEASE_SECONDS = 0.5
#: How many tasks a page has.
PAGE = 10


class Shop:
    """An app whose tasks fail until it is healed, with a list of what ran."""

    def __init__(self, url):
        self.app = App(url, url)
        self.ran = []
        self.healed = False

        @self.app.task(name="mail")
        def mail(n: int) -> int:
            self.ran.append(n)
            if not self.healed:
                raise ValueError("the provider is down")
            return n

        self.mail = mail

    def drain(self):
        """Run what is ready; how many tasks ran."""
        return self.app.worker(queues=["default"]).drain()


def shorten():
    """Let a lease end soon, and a page be short."""
    runner._LEASE_SECONDS = retry._LOCK_SECONDS = LEASE_SECONDS
    selections.PAGE = work.PAGE = PAGE


def die_before(driver, nth):
    """Kill this process before the nth call of a method of ``driver`` that changes something, or reads a task."""
    calls = itertools.count(1)

    def wrapped(method):
        def call(*args, **options):
            if next(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args, **options)

        return call

    for name in ("record", "read", "forget", "write_values", "read_values", "drop_bodies", "record_and_publish"):
        for one in driver:
            if hasattr(one, name):
                setattr(one, name, wrapped(getattr(one, name)))


if __name__ == "__main__":
    url, operation_id, nth = sys.argv[1:]
    shorten()
    with (shop := Shop(url)).app:
        runtime = shop.app.runtime
        operation = shop.app.operations.bulk.get(operation_id)
        die_before([runtime.backend, runtime.broker], int(nth))
        operation.run()
