"""Clauses F9 to F11: batched tasks, whose function is called once for the rows of many tasks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from drivetrain import App, Batch, Result, TaskCancelled, chord, current_batch, retry
from drivetrain.contract import State
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared, NotRun
from drivetrain_contract_tests.workflows import limited_worker
from drivetrain_contract_tests.workflows.app_harness import AppHarness
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import Faults
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.run_log import until

__all__ = ["BatchChecks"]

#: The size of the batches.
_SIZE = 5
#: A wait that no check waits for, in seconds; and a short one.
_LONG, _SHORT = 300.0, 0.1
#: A row that fails at its first attempt, and one that always fails.
_FLAKY, _BROKEN = -1, -2


class _Calls:
    """Notes which rows were together. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows: list[list[int]] = []
        #: The calls wait until it is set.
        self.go = threading.Event()
        self.go.set()

    def run(self, rows: list[int]) -> list[int | Exception]:
        """A batch runs; a result or an error for each row."""
        with self._lock:
            self.rows.append(list(rows))
        attempts = [context.attempt for context in current_batch()]
        self.go.wait(60.0)
        return [_outcome(row, attempt) for row, attempt in zip(rows, attempts, strict=True)]

    def counts(self) -> Counter[int]:
        """How often each row has run."""
        with self._lock:
            return Counter(row for rows in self.rows for row in rows)


def _outcome(row: int, attempt: int) -> int | Exception:
    fails = row == _BROKEN or (row == _FLAKY and attempt == 0)
    return ArithmeticError(f"row {row} fails, as it should") if fails else 10 * row + attempt


class BatchChecks(WorkflowBase):
    """What is put together, and what stays apart."""

    @holds("F9")
    def test_a_full_batch_runs_at_once_and_each_row_once(self) -> None:
        """More rows than the worker has slots, and than one message of the broker may carry."""
        with self.harness() as harness:
            calls = _Calls()
            app = self._batched(harness, calls, wait=_LONG)
            handles = self._send(app, range(4 * _SIZE))
            harness.worker(app, concurrency=1)
            assert [harness.outcome(handle) for handle in handles] == [10 * row for row in range(4 * _SIZE)]
            assert all(len(rows) == _SIZE for rows in calls.rows), f"the batches had the sizes {calls.rows}"
            assert set(calls.counts().values()) == {1}, "a row ran more than once"

    @holds("F9")
    def test_a_batch_that_is_not_full_runs_when_its_wait_is_over(self) -> None:
        """It holds no slot until then."""
        with self.harness() as harness:
            calls = _Calls()
            app = self._batched(harness, calls, wait=_LONG)
            waiting = self._send(app, range(_SIZE - 1))
            short = self._send(app, [7], "short")
            harness.worker(app, concurrency=1)
            until(lambda: self._started(harness, waiting), "the rows are collected", self.patience_seconds)
            assert harness.outcome(short[0]) == 70, "rows that wait for their batch hold a slot"
            assert calls.rows == [[7]], "a batch ran before its wait was over"

    @holds("F10")
    def test_a_row_that_fails_touches_no_other_row(self) -> None:
        """It is retried, and fails in the end, alone."""
        with self.harness() as harness:
            calls = _Calls()
            app = self._batched(harness, calls, wait=_SHORT)
            handles = self._send(app, [1, _FLAKY, _BROKEN, 2])
            harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [10, 10 * _FLAKY + 1, FAILED, 20]
            counts = calls.counts()
            assert (counts[1], counts[2]) == (1, 1), f"a row ran again because of another one: {counts}"
            assert counts[_BROKEN] == 3, f"a row with 2 retries ran {counts[_BROKEN]} times"

    @holds("F10")
    def test_a_row_that_is_cancelled_while_it_waits_does_not_run(self) -> None:
        """The others of its batch do, also where they are not together any more since a slow worker lost its leases."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            calls = _Calls()
            app = self._batched(harness, calls, wait=20.0)
            handles = self._send(app, range(_SIZE - 1))
            worker = harness.worker(app)
            until(lambda: self._started(harness, handles), "the rows are collected", self.patience_seconds)
            app.cancel(handles[0].id)
            until(lambda: any(run.stopped for run in worker._in_flight.all()), "it knows", self.patience_seconds)
            handles += self._send(app, [8])
            assert [harness.outcome(handle) for handle in handles[1:]] == [10, 20, 30, 80]
            with pytest.raises(TaskCancelled):
                handles[0].get(timeout=self.patience_seconds)
            assert calls.counts()[0] == 0, "a cancelled row ran"

    @holds("F10")
    def test_a_row_is_a_part_of_a_workflow(self) -> None:
        """The rows are members of a chord; its callback gets their results in order."""
        with self.harness() as harness:
            app = self._batched(harness, _Calls(), wait=_SHORT)
            app.task(name="total")(_total)
            members = [app.signature("batched", row) for row in range(_SIZE + 2)]
            handle = app.send(chord(members, app.signature("total")))
            harness.worker(app)
            assert harness.outcome(handle) == sum(10 * row for row in range(_SIZE + 2))

    @holds("F11")
    def test_a_worker_that_stops_loses_no_row_that_waits(self) -> None:
        """It releases them at once, and no attempt is used."""
        with self.harness() as harness:
            calls = _Calls()
            app = self._batched(harness, calls, wait=_LONG)
            handles = self._send(app, range(_SIZE - 1))
            first = harness.worker(app, grace_seconds=600.0)
            until(lambda: self._started(harness, handles), "the rows are collected", self.patience_seconds)
            first.stop(wait=False)
            try:
                until(
                    lambda: self._states(harness, handles) == {State.RECEIVED}, "they are free", self.patience_seconds
                )
            finally:
                first.stop(grace_seconds=0.0)
            handles += self._send(app, [_SIZE - 1])
            harness.worker(app)
            assert [harness.outcome(handle) for handle in handles] == [10 * row for row in range(_SIZE)]

    @holds("F11")
    def test_the_rows_of_a_dead_worker_run_elsewhere(self) -> None:
        """It dies while a batch runs and other rows wait."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            calls, dying = _Calls(), Faults()
            calls.go.clear()
            app = self._batched(harness, calls, wait=_LONG, faults=dying)
            handles = self._send(app, range(_SIZE + 2))
            worker = harness.worker(app)
            until(lambda: calls.rows, "a batch runs", self.patience_seconds)
            until(lambda: self._started(harness, handles), "the rows are collected", self.patience_seconds)
            dying.away.set()
            harness.disconnect(app)
            worker.stop(grace_seconds=0.0)
            second = _Calls()
            living = self._batched(harness, second, wait=_SHORT)
            harness.worker(living)
            outcomes = [harness.outcome(living.result(handle.id)) for handle in handles]
            calls.go.set()
            assert outcomes == [10 * row for row in range(_SIZE + 2)], "a row is lost, or has used an attempt"
            assert set(second.counts()) == set(range(_SIZE + 2))

    @holds("F11")
    def test_processes_that_are_killed_lose_no_row(self) -> None:
        """Three workers, of which one after the other is killed while batches run and rows wait."""
        if not (self.broker_declares().shared and self.backend_declares().shared) or self.pair.made_here:
            raise NotDeclared("not declared: shared, of both, or its drivers are made in this process")
        if self.profile.name == "quick":
            raise NotRun("it starts six processes, and waits for several leases: too long for the profile quick")
        with self.harness() as harness, TemporaryDirectory() as directory:
            path, lease = Path(directory, "spans"), str(self.short_lease_seconds)
            urls = self.pair.broker.url(harness.namespace), self.pair.backend.url(harness.namespace)
            command = [sys.executable, "-m", limited_worker.__name__, *urls, str(path), lease, self.pair.prelude]
            app = App(*urls, lease_seconds=self.short_lease_seconds)
            limited_worker.register(app, path)
            processes: list[subprocess.Popen[bytes]] = []
            try:
                processes += [subprocess.Popen(command) for _ in range(3)]  # noqa: S603  our own
                handles = app.send_many([app.signature("rows", number) for number in range(102)])
                for step in range(3):
                    until(lambda more=step * 25: len(limited_worker.read_spans(path)) > more, "they work", 60.0)  # type: ignore[misc]
                    processes[step].kill()
                    processes.append(subprocess.Popen(command))  # noqa: S603  our own
                assert [handle.get(timeout=60.0) for handle in handles] == list(range(102))
                assert {handle.record().attempt for handle in handles} == {0}, "a kill has used an attempt"
            finally:
                for process in processes:
                    process.kill()
                    process.wait()
                app.close()

    def _batched(self, harness: AppHarness, calls: _Calls, *, wait: float, **options: Any) -> App:
        app = harness.app(with_tasks=False, **options)
        retries = retry.fixed(0.0, max_retries=2)
        app.task(name="batched", batch=Batch(_SIZE, wait=wait), retry=retries)(calls.run)
        app.task(name="short", batch=Batch(_SIZE, wait=_SHORT))(calls.run)
        return app

    def _send(self, app: App, rows: Any, task: str = "batched") -> list[Result[Any]]:
        return app.send_many([app.signature(task, row) for row in rows])

    def _started(self, harness: AppHarness, handles: list[Result[Any]]) -> bool:
        return self._states(harness, handles) == {State.STARTED}

    def _states(self, harness: AppHarness, handles: list[Result[Any]]) -> set[State | None]:
        records = harness.backend.read([handle.id for handle in handles])
        return {None if record is None else record.state for record in records}


def _total(numbers: list[int]) -> int:
    return sum(numbers)
