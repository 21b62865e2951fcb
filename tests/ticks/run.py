"""``make ticks``: three schedulers in processes, killed, stopped and with wrong clocks, while the service restarts.

Each tick must run exactly once. A worker in this process counts the runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import click
from attrs import define, field, frozen

from drivetrain import App, current_task, every
from drivetrain.contract import ServiceError
from drivetrain_contract_tests import Service
from matrix.pairs import Pair, named
from matrix.places import running

__all__ = ["Plan", "Verdict", "main", "plan_of", "play"]

#: The pairs that run when none is named: every backend that processes share and that does not declare to be a cache.
#: moto, which imitates SQS, does not answer any more after a thousand messages; ``--pair sqs+redis --ticks 90`` works.
PAIRS = ("sqlite+sqlite", "redis+redis", "amqp+redis", "redis+mongodb")
_SKEWS = (-2.0, 0.0, 2.0)
#: How many ticks there are each second; and how many where moto imitates SQS, which is slow.
_PER_SECOND, _IMITATED = 20, 3
_TESTS = Path(__file__).resolve().parents[1]


@frozen(kw_only=True)
class Plan:
    """One run.

    Attributes:
        pair: the drivers.
        ticks: how many ticks there are at least.
        schedules: how many schedules tick each second.
        seed: determines the faults.
        lease_seconds: how long the lock of a dead scheduler lasts.
        restarts: whether services are restarted.
        end_seconds: how long ticks may be late after the last fault.
    """

    pair: Pair
    ticks: int = 1000
    schedules: int = _PER_SECOND
    seed: int = 0
    lease_seconds: float = 2.0
    restarts: bool = True
    end_seconds: float = 120.0

    @property
    def seconds(self) -> int:
        """For how long schedules tick."""
        return -(-self.ticks // self.schedules)


@frozen
class Verdict:
    """What became of the ticks.

    Attributes:
        wanted: how many ticks there were.
        lost: the ticks that did not run.
        repeated: the ticks that ran more than once, or that nobody planned.
        faults: how often each fault was done.
        latest: how late the last tick of all ran, in seconds.
    """

    wanted: int
    lost: list[tuple[str, float]]
    repeated: list[tuple[str, float]]
    faults: Counter[str]
    latest: float

    @property
    def sound(self) -> bool:
        """Whether each tick ran exactly once."""
        return not self.lost and not self.repeated


@define(eq=False)
class _Runs:
    """The runs of ticks, counted by a worker in this process."""

    runs: list[tuple[str, float, float]] = field(factory=list)
    changed: threading.Condition = field(factory=threading.Condition)

    def note(self) -> None:
        """A task of a tick runs."""
        tick = current_task().tick
        assert tick is not None, "a task has no tick"
        with self.changed:
            self.runs.append((tick.schedule, tick.instant.timestamp(), time.time()))
            self.changed.notify_all()

    def wait(self, number: int, seconds: float) -> None:
        """Wait for this number of different ticks, and no longer than this."""
        with self.changed:
            self.changed.wait_for(lambda: len({run[:2] for run in self.runs}) >= number, seconds)


class _Schedulers:
    """Three scheduler processes, each with another clock."""

    def __init__(self, plan: Plan, broker: str, backend: str) -> None:
        self._arguments = [broker, backend]
        self._lease = plan.lease_seconds
        self._processes: dict[float, subprocess.Popen[bytes]] = {}

    def fill(self) -> None:
        """Start those that do not run."""
        for skew in _SKEWS:
            if skew not in self._processes or self._processes[skew].poll() is not None:
                self._processes[skew] = subprocess.Popen(
                    [sys.executable, "-m", "ticks.scheduler", *self._arguments, str(skew), str(self._lease)],
                    env={**os.environ, "PYTHONPATH": str(_TESTS)},
                    stderr=subprocess.DEVNULL,
                )

    def signal(self, skew: float, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        self._processes[skew].send_signal(number)
        if number is signal.SIGKILL:
            self._processes[skew].wait()

    def kill(self) -> None:
        """End all of them."""
        for process in self._processes.values():
            process.kill()
            process.wait()


def plan_of(pair: str, ticks: int, seed: int, schedules: int | None = None) -> Plan:
    """The plan of a pair, with as many ticks each second as its services can take."""
    found = named(pair)
    number = schedules or (_IMITATED if found.broker == "sqs" else _PER_SECOND)
    return Plan(pair=found, ticks=ticks, schedules=number, seed=seed)


def play(plan: Plan) -> Verdict:
    """Run the plan, and judge it."""
    with TemporaryDirectory(prefix="drivetrain-ticks-") as directory, ExitStack() as stack:
        services = []
        for scheme in dict.fromkeys((plan.pair.broker, plan.pair.backend)):
            home = Path(directory, scheme)
            home.mkdir()
            services.append(stack.enter_context(running(scheme, home)))
        broker, backend = services[0].url("ticks"), services[-1].url("ticks")
        schedulers = _Schedulers(plan, broker, backend)
        stack.callback(schedulers.kill)
        runs = _Runs()
        app = stack.enter_context(closing(_app(broker, backend, runs)))
        start = float(int(time.time()) + 3)
        _put(app, plan, start)
        worker = app.worker(schedules=False).start()
        schedulers.fill()
        faults = _do_faults(plan, schedulers, services)
        schedulers.fill()
        runs.wait(plan.seconds * plan.schedules, plan.end_seconds)
        _settle(app, plan.end_seconds)
        worker.stop()
        return _judge(plan, start, runs, faults)


def _app(broker: str, backend: str, runs: _Runs) -> App:
    app = App(broker, backend, send_seconds=60.0)
    app.task(name="note")(runs.note)
    return app


def _put(app: App, plan: Plan, start: float) -> None:
    begin, end = (datetime.fromtimestamp(time, UTC) for time in (start, start + plan.seconds - 1))
    app.schedules.put_many(
        [
            (
                f"s{number}",
                app.signature("note"),
                every(seconds=1),
                {"misfire": "all", "catch_up": 3600.0, "catch_up_limit": 1000, "start": begin, "end": end},
            )
            for number in range(plan.schedules)
        ]
    )


def _do_faults(plan: Plan, schedulers: _Schedulers, services: Sequence[Service]) -> Counter[str]:
    """Do faults while the schedules tick. In this thread: a server ends with the thread that has started it."""
    random, done, pause = Random(plan.seed), Counter[str](), threading.Event()
    end = time.monotonic() + plan.seconds + 3
    restartable = [service for service in services if service.stop is not None] if plan.restarts else []
    kinds = ["kill", "kill", "stop", "stop", *(["restart"] if restartable else [])]
    while time.monotonic() < end:
        pause.wait(random.uniform(0.2, 1.5))
        kind, skew = random.choice(kinds), random.choice(_SKEWS)
        done[kind] += 1
        if kind == "kill":
            schedulers.signal(skew, signal.SIGKILL)
        elif kind == "stop":
            schedulers.signal(skew, signal.SIGSTOP)
            pause.wait(random.uniform(0.1, 2 * plan.lease_seconds))
            schedulers.signal(skew, signal.SIGCONT)
        else:
            _restart(random.choice(restartable))
        schedulers.fill()
    return done


def _restart(service: Service) -> None:
    stop, start = service.stop, service.start
    assert stop is not None and start is not None  # noqa: PT018 - both are given, or none
    stop()
    start()


def _settle(app: App, seconds: float) -> None:
    """Wait until no message is left, so that a repeated one has run."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(ServiceError):
            sizes = app.operations.sizes(["default"])["default"]
            if not (sizes.ready or sizes.delayed or sizes.in_flight):
                break
        pause.wait(0.2)
    pause.wait(1.0)  # of a broker that counts late


def _judge(plan: Plan, start: float, runs: _Runs, faults: Counter[str]) -> Verdict:
    wanted = {(f"s{number}", start + second) for number in range(plan.schedules) for second in range(plan.seconds)}
    ran = Counter((schedule, instant) for schedule, instant, _ in runs.runs)
    return Verdict(
        len(wanted),
        sorted(wanted - ran.keys()),
        sorted(tick for tick, number in ran.items() if number > 1 or tick not in wanted),
        faults,
        max((at - instant for _, instant, at in runs.runs), default=0.0),
    )


def main(arguments: Sequence[str] | None = None, echo: Callable[[str], None] = click.echo) -> int:
    """Run what is asked for; 1 if a tick did not run exactly once."""
    parser = ArgumentParser(prog="make ticks ARGS=…", description=__doc__)
    parser.add_argument("--pair", action="append", metavar="BROKER+BACKEND", help=f"none: {', '.join(PAIRS)}")
    parser.add_argument("--ticks", type=int, default=1000)
    parser.add_argument("--schedules", type=int, help="how many tick each second; none: as many as the pair can take")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="determines the faults")
    asked = parser.parse_args(arguments)
    unsound = 0
    for name in asked.pair or PAIRS:
        plan = plan_of(name if "+" in name else f"{name}+{name}", asked.ticks, asked.seed, asked.schedules)
        verdict = play(plan)
        faults = ", ".join(f"{number} {kind}" for kind, number in sorted(verdict.faults.items()))
        echo(
            f"{name}, seed {asked.seed}: {verdict.wanted} ticks, {len(verdict.lost)} lost, "
            f"{len(verdict.repeated)} repeated; {faults}; the latest ran {verdict.latest:.1f} s late"
        )
        unsound += not verdict.sound
    return 1 if unsound else 0


if __name__ == "__main__":
    sys.exit(main())
