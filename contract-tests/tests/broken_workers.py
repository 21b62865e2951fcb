"""Workers, and backends of SQLite, broken in this process: the prelude of a worker process."""

from __future__ import annotations

from msgspec.structs import replace

from drivetrain.contract import State, evolve
from drivetrain.drivers.sqlite import SqliteBackend
from drivetrain.worker import lone_starts
from drivetrain.worker.isolation import Isolation
from drivetrain.worker.receiving import starting
from drivetrain.worker.results import ResultFactory
from drivetrain.worker.unfinished import Unfinished

__all__ = ["install"]


def backend_that_does_not_count():
    record = SqliteBackend.record

    def counts_one(self, transitions):
        return [
            one if one.before is None else evolve(one, before=evolve(one.before, starts=min(one.before.starts, 1)))
            for one in record(self, transitions)
        ]

    SqliteBackend.record = counts_one


def backend_that_keeps_the_first_payload():
    record = SqliteBackend.record

    def keeps_the_first(self, transitions):
        before = self.read([transition.task_id for transition in transitions])
        return record(self, [_without_payload(*each) for each in zip(transitions, before, strict=True)])

    SqliteBackend.record = keeps_the_first


def _without_payload(transition, before):
    again = before is not None and transition.state is State.STARTED and before.run == transition.run
    return evolve(transition, payload=None) if again else transition


def condemns_the_company():
    starting.max_shared_starts = lambda max_starts: max_starts
    starting.lone_start = lambda _known, **_how: None


def never_condemns():
    def lone_start(known, *, max_starts, tally):
        found = lone_starts.lone_start(replace(known, lone_starts=0), max_starts=max_starts, tally=tally)
        return found and evolve(found, record=known, last=False)

    starting.lone_start = lone_start


def condemns_late():
    def lone_start(known, *, max_starts, tally):
        return lone_starts.lone_start(known, max_starts=max_starts + 1, tally=tally)

    starting.lone_start = lone_start


def drops_what_kills():
    condemned = ResultFactory.crashed
    ResultFactory.crashed = lambda *told: replace(condemned(*told), dead_reason=None)


def runs_suspects_in_company():
    """And in several threads, so that they are in each other's company too."""

    def submit(self, runs):
        for run in runs:
            self._record_start(run, run.lone)
        self._run_here(runs)

    Isolation.submit = submit


def condemns_the_last_start():
    def lone_start(known, *, max_starts, tally):
        found = lone_starts.lone_start(known, max_starts=max_starts, tally=tally)
        return None if found is None or found.last else found

    starting.lone_start = lone_start


def takes_company_for_none():
    lone = starting.Starter._lone_start

    def lone_start(self, run, before):
        if before is None:
            return lone(self, run, before)
        known = Unfinished.load(self._runtime.payloads, before)
        counted = replace(known, lone_starts=max(known.lone_starts, before.starts))
        tally = f"started {before.starts + 1} times"
        return lone_starts.lone_start(counted, max_starts=self._options.max_starts, tally=tally)

    starting.Starter._lone_start = lone_start


def records_lone_starts_at_receipt():
    """Counts a lone start when it is received, and not when it begins."""
    suspected = starting.Starter._start_suspect

    def records(self, run, before):
        ending = suspected(self, run, before)
        if run.lone is not None:
            payload = run.lone.record.dump(self._runtime.payloads)
            transition = evolve(self._transition(run, self._runtime.clock.now()), payload=payload)
            self._retrier.call("start", lambda: self._runtime.backend.record([transition]))
        return ending

    starting.Starter._start_suspect = records


def install(name):
    globals()[name]()
