"""``make chaos``: random workflows under random faults, on a pair of a broker and a backend.

Two workers are started from the command line. They and the services are killed, stopped and paused at random while this
process sends workflows and waits for them. Afterwards every result and every run is compared with what was promised.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from attrs import frozen

from chaos.faults import Faults, Workers, environment
from chaos.judging import Findings, Sent, judge
from chaos.results import keep, table
from chaos.sender import Sender
from chaos.story import Story
from chaos.tasks import RUNS_VARIABLE, Runs, add_tasks
from drivetrain import App
from matrix.page import PAGE, text
from matrix.pairs import Pair, named
from matrix.places import running
from matrix.results import Matrix

__all__ = ["Plan", "main", "play", "short"]

#: The pairs that run when none is named.
PAIRS = ("redis+redis", "amqp+redis", "sqlite+sqlite", "redis+mongodb", "sqs+redis")
_QUEUE = "default"


@frozen(kw_only=True)
class Plan:
    """One run."""

    pair: Pair
    #: How long faults are done; None: until each kind of them was done once.
    seconds: float | None
    seed: int
    lease_seconds: float = 3.0
    workers: int = 2
    #: How many workflows are under way at most.
    at_once: int = 60
    #: How many workflows end before each fault, where each kind is done once.
    between_faults: int = 10
    #: How long workflows may take to end after the last fault, and what is in the queue to go.
    end_seconds: float = 90.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 if anything was not as promised."""
    parser = ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--pair", action="append", metavar="BROKER+BACKEND", help=f"none: {', '.join(PAIRS)}")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults are done to each pair")
    parser.add_argument("--once", action="store_true", help="do each kind of fault once, as make test does")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="determines workflows and faults")
    parser.add_argument("--keep", action="store_true", help="write what was shown into docs/guarantees.md")
    asked = parser.parse_args(arguments)
    if asked.keep and asked.once:
        parser.error("--keep writes what a run of some --seconds has shown: leave out --once")
    try:
        chosen = [_pair(name) for name in asked.pair or PAIRS]
    except ValueError as error:
        parser.error(str(error))
    unsound = 0
    for pair in chosen:
        extent = "each kind of fault once" if asked.once else f"{asked.seconds:g} s of faults"
        click.echo(f"== {pair}, {extent}, seed {asked.seed}")
        plan = short(pair, asked.seed) if asked.once else Plan(pair=pair, seconds=asked.seconds, seed=asked.seed)
        findings = play(plan)
        click.echo("\n".join(table(findings)))
        unsound += not findings.sound
        if asked.keep:
            keep(pair, asked.seconds, findings)
    if asked.keep:
        PAGE.write_text(text(Matrix.read()), "utf-8")
    return 1 if unsound else 0


def _pair(name: str) -> Pair:
    return named(name if "+" in name else f"{name}+{name}")


def short(pair: Pair, seed: int) -> Plan:
    """A run that does each kind of fault once, for a machine that may be slow: no step of it goes by the clock."""
    return Plan(pair=pair, seconds=None, seed=seed, at_once=20, end_seconds=180.0)


def play(plan: Plan) -> Findings:
    """Run the plan, and judge it."""
    with TemporaryDirectory(prefix="drivetrain-chaos-") as directory, ExitStack() as stack:
        place = Path(directory)
        services = [
            stack.enter_context(running(scheme, _made(place / scheme)))
            for scheme in dict.fromkeys((plan.pair.broker, plan.pair.backend))
        ]
        broker, backend = services[0].url("chaos"), services[-1].url("chaos")
        runs, logs = place / "runs", _made(place / "logs")
        variables = environment(broker, backend, runs, RUNS_VARIABLE, plan.lease_seconds)
        workers = Workers(plan.workers, variables, logs)
        stack.callback(workers.kill)
        app = stack.enter_context(closing(_sender(broker, backend)))
        faults = Faults(plan.seed, workers, services, lease_seconds=plan.lease_seconds)
        sent = _perform(plan, app, workers, faults)
        _await_runs(sent, Runs(runs), plan.end_seconds)
        left_over = [*_left_in_queue(app, plan.end_seconds), *_bad_exits(workers.stop()), *_bad_lines(logs)]
        return judge(sent, Runs(runs).read(), faults.done, lease_seconds=plan.lease_seconds, left_over=left_over)


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _sender(broker: str, backend: str) -> App:
    """An app that rides out the restart of a service."""
    return add_tasks(App(broker, backend, send_seconds=60.0, default_queue=_QUEUE), Runs(Path(os.devnull)))


def _perform(plan: Plan, app: App, workers: Workers, faults: Faults) -> list[Sent]:
    # Faults are done in this thread: a server ends with the thread that has started it.
    sender = Sender(app, Story(plan.seed), at_once=plan.at_once)
    workers.fill()
    with sender:
        if plan.seconds is None:
            faults.once(lambda: sender.await_ends(plan.between_faults, plan.end_seconds))
        else:
            faults.run(plan.seconds, sender.failed)
        workers.fill()
    return sender.finish(plan.end_seconds)


# Afterwards


def _await_runs(sent: Sequence[Sent], runs: Runs, seconds: float) -> None:
    """Wait until each task has run: a failed group ends before its other members, and no broker need show those."""
    end = time.monotonic() + seconds
    wanted = [(label, attempts) for one in sent for label, attempts in one.expected.attempts.items()]
    while time.monotonic() < end:
        begun = Counter({(event.label, event.attempt) for event in runs.read() if event.kind == "begin"})
        ran = Counter(label for label, _ in begun)
        if all(ran[label] >= attempts for label, attempts in wanted):
            return
        threading.Event().wait(0.2)


def _left_in_queue(app: App, seconds: float) -> Iterator[str]:
    """What lies in the queue though all has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sizes = app._services.with_retries("sizes", lambda: app.operations.sizes([_QUEUE]))[_QUEUE]
        if not (sizes.ready or sizes.delayed or sizes.in_flight):
            break
        threading.Event().wait(0.2)
    else:
        yield f"messages are left in the queue: {sizes}"
    for letter in app.operations.dead_letters(_QUEUE):
        yield f"a dead letter: {letter.task} {letter.task_id}: {letter.reason}"


def _bad_exits(codes: Sequence[int]) -> Iterator[str]:
    yield from (f"a worker that was asked to stop ended with exit code {code}" for code in codes if code)


def _bad_lines(logs: Path) -> Iterator[str]:
    """What workers log as an error, but for the failures that tasks have on purpose."""
    for log in sorted(logs.iterdir()):
        for line in log.read_text("utf-8", "replace").splitlines():
            told = _parsed(line)
            if told is None or (told["level"] in {"ERROR", "CRITICAL"} and told["logger"] != "drivetrain.task"):
                yield f"{log.name}: {line[:2000]}"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and {"level", "logger"} <= told.keys() else None


if __name__ == "__main__":
    sys.exit(main())
