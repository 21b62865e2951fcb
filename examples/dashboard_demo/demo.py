"""Runs the shop: a worker, a dashboard, and orders until Ctrl-C, in a directory that is removed at the end."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from dashboard_demo.tasks import (
    app,
    charge_card,
    check_stock,
    import_catalogue,
    pack,
    report,
    reserve,
    send_mail,
)
from drivetrain import chain, chord, group

DRIVETRAIN = str(Path(sys.executable).with_name("drivetrain"))
EXAMPLES = str(Path(__file__).resolve().parent.parent)
APP = "dashboard_demo.tasks:app"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9770, help="the port of the dashboard")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long it runs; until Ctrl-C by default")
    options = parser.parse_args()
    with ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="drivetrain-dashboard-"))
        stack.enter_context(app.using(f"sqlite:///{work}/drivetrain.db"))
        queues = ("--queues", "orders,mails", "--concurrency", "4", "--log-level", "critical")
        stack.enter_context(Program(work, "worker", APP, *queues))
        stack.enter_context(Program(work, "dashboard", APP, "--port", str(options.port), "--title", "Demo shop"))
        print("Orders come in; some of them fail. Look at them in a browser, and stop this with Ctrl-C.", flush=True)
        try:
            send_orders(options.seconds)
        except KeyboardInterrupt:
            print("\nStopping …")


class Program:
    """A command of drivetrain, in the directory of the demo; it is stopped at the end."""

    def __init__(self, directory: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [DRIVETRAIN, *arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": EXAMPLES},
            start_new_session=True,  # Ctrl-C is for this program, which stops the others
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)


def send_orders(seconds: float) -> None:
    """Send an order every now and then: a chain, with a group in it; and what makes the dashboard interesting."""
    report.si("today").send()
    import_catalogue.si().send()
    end, order = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        order += 1
        articles = [reserve.si(article) for article in range(random.randint(2, 6))]
        app.send(chain(check_stock.si(order), charge_card.s()))
        app.send(chord(group(articles), pack.s()))
        send_mail.si(order).send()
        if order % 10 == 0:
            send_mail.si(order).set(delay=600).send()
        time.sleep(random.uniform(0.1, 0.6))


if __name__ == "__main__":
    main()
