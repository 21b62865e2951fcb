"""Batched tasks: one call for many rows, each with a state, a result and retries of its own."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from drivetrain import (
    Batch,
    Blueprint,
    Concurrency,
    InvalidArguments,
    InvalidSignature,
    Postpone,
    Retry,
    State,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    Unique,
    chain,
    chord,
    current_batch,
    current_task,
    group,
    hookimpl,
    provided,
    retry,
)
from drivetrain.cli.overview import running_document, waiting_document
from drivetrain.testing import VirtualTime
from support.waiting import happened, until


@dataclass
class Row:
    name: str
    size: int = 1


class Calls:
    """The calls of a batched function. Thread-safe enough: a list."""

    def __init__(self):
        self.rows = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()

    def note(self, rows):
        self.rows.append(list(rows))
        self.began.set()
        happened(self.gate, "the test lets the batch go on")


@pytest.fixture
def calls():
    one = Calls()
    yield one
    one.gate.set()


def batched(app, calls, size=3, wait=60.0, **options):
    """A task that doubles numbers. A text among them is an error of its row."""

    @app.task(name="double", batch=Batch(size, wait=wait), **options)
    def double(rows: list[Any]) -> list[Any]:
        calls.note(rows)
        return [ValueError(row) if isinstance(row, str) else 2 * row for row in rows]

    return double


def test_a_full_batch_runs_at_once_and_each_row_has_its_result(app, calls):
    double = batched(app, calls)
    with app.worker():
        handles = app.send_many([double.s(number) for number in range(6)])
        assert [handle.get(timeout=60) for handle in handles] == [0, 2, 4, 6, 8, 10]
        assert {record.state for record in app.runtime.backend.read([one.id for one in handles])} == {State.SUCCESS}
    assert sorted(len(rows) for rows in calls.rows) == [3, 3]


def test_a_batch_that_is_not_full_runs_after_its_wait(app, calls):
    double = batched(app, calls, wait=0.05)
    with app.worker():
        assert double.send(4).get(timeout=60) == 8
        assert double.send(5).get(timeout=60) == 10
    assert calls.rows == [[4], [5]]


def test_rows_are_decoded_as_the_type_of_the_list(app, calls):
    @app.task(batch=Batch(2, wait=timedelta(seconds=60)))
    def sizes(rows: list[Row]) -> list[int | Exception]:
        calls.note(rows)
        return [row.size for row in rows]

    with app.worker():
        handles = app.send_many([sizes.s(Row("a", 5)), sizes.s(Row("b"))])
        assert [handle.get(timeout=60) for handle in handles] == [5, 1]
    assert calls.rows == [[Row("a", 5), Row("b")]]
    assert sizes([Row("c", 3)]) == [3]
    with pytest.raises(InvalidArguments, match=r"the row|parameter 'row'"):
        sizes.send("a")
    with pytest.raises(InvalidArguments, match="takes 1 positional argument"):
        sizes.send(Row("a"), Row("b"))


def test_a_row_that_fails_touches_no_other_row(app, calls):
    double = batched(app, calls, retry=retry.fixed(0.01, max_retries=1), wait=0.2)
    with app.worker():
        handles = app.send_many([double.s(row) for row in (1, "bad", 3)])
        assert [handles[0].get(timeout=60), handles[2].get(timeout=60)] == [2, 6]
        with pytest.raises(TaskFailed, match="ValueError: bad"):
            handles[1].get(timeout=60)
        assert handles[1].record().attempt == 1
    assert calls.rows == [[1, "bad", 3], ["bad"]]


def test_an_error_of_the_function_is_one_of_every_row(app, calls, caplog):
    @app.task(name="broken_batch", batch=Batch(3, wait=60))
    def broken_batch(rows: list[int]) -> None:
        calls.note(rows)
        raise LookupError("all of it")

    with app.worker():
        for handle in app.send_many([broken_batch.s(number) for number in range(3)]):
            with pytest.raises(TaskFailed, match="all of it"):
                handle.get(timeout=60)
    logged = [record for record in caplog.records if "failed in attempt" in record.message]
    assert len(logged) == 3
    assert sum(record.exc_info is not None for record in logged) == 1, "one traceback for the batch"


@pytest.mark.parametrize("value", [[1], [1, 2, 3], {1: 2}, "ab", 7])
def test_a_result_that_does_not_fit_the_rows_fails_them(memory_app, value):
    @memory_app.task(name="unfit", batch=Batch(2, wait=60), retry=retry.fixed(0.01))
    def unfit(rows: list[int]) -> Any:
        return value

    handles = memory_app.send_many([unfit.s(1), unfit.s(2)])
    memory_app.worker().drain()
    for handle in handles:
        with pytest.raises(TaskFailed, match="for 2 rows; return a list with one result for each row"):
            handle.get(timeout=60)
        assert handle.record().attempt == 0


def test_none_is_the_result_of_every_row(memory_app):
    @memory_app.task(name="silent", batch=Batch(5))
    def silent(rows: list[int]) -> None: ...

    handles = memory_app.send_many([silent.s(1), silent.s(2)])
    memory_app.worker().drain()
    assert [handle.get(timeout=60) for handle in handles] == [None, None]


def test_a_result_of_another_type_fails_its_row_alone(memory_app):
    @memory_app.task(name="mixed", batch=Batch(5))
    def mixed(rows: list[int]) -> list[int]:
        return [row or "zero" for row in rows]

    handles = memory_app.send_many([mixed.s(1), mixed.s(0)])
    memory_app.worker().drain()
    assert handles[0].get(timeout=60) == 1
    with pytest.raises(TaskFailed, match="the result of a row|the result"):
        handles[1].get(timeout=60)


def test_a_row_may_ask_for_a_retry_or_be_postponed(app, calls):
    @app.task(name="moody", batch=Batch(3, wait=0.05))
    def moody(rows: list[str]) -> list[int | Exception]:
        calls.note(rows)
        answers = {"retry": Retry("again", after=0.01), "postpone": Postpone(after=0.01)}
        attempts = [row.attempt for row in current_batch()]
        first = len(calls.rows) == 1
        return [
            answers[row] if first and row in answers else attempt for row, attempt in zip(rows, attempts, strict=True)
        ]

    with app.worker():
        handles = app.send_many([moody.s(row) for row in ("retry", "postpone", "fine")])
        assert [handle.get(timeout=60) for handle in handles] == [1, 0, 0]


def test_coroutines_get_batches(app, calls):
    @app.task(name="fetch_all", batch=Batch(3, wait=60))
    async def fetch_all(rows: list[int]) -> list[int | BaseException]:
        calls.rows.append(rows)

        async def fetch(row: int) -> int:
            if row == 1:
                raise ConnectionError("away")
            return row

        return await asyncio.gather(*map(fetch, rows), return_exceptions=True)

    with app.worker():
        handles = app.send_many([fetch_all.s(number) for number in range(3)])
        assert [handles[0].get(timeout=60), handles[2].get(timeout=60)] == [0, 2]
        with pytest.raises(TaskFailed, match="away"):
            handles[1].get(timeout=60)
    assert calls.rows == [[0, 1, 2]]


def test_rows_that_wait_hold_no_slot(app, calls):
    double = batched(app, calls, size=50)
    with app.worker(concurrency=1):
        rows = app.send_many([double.s(number) for number in range(49)])
        until(lambda: {row.state() for row in rows} == {State.STARTED}, "the rows are collected")
        assert app.send(app.signature("value", 5)).get(timeout=60) == 5
        assert calls.rows == []
        double.send(49)
        assert [row.get(timeout=60) for row in rows] == [2 * number for number in range(49)]
    assert [len(rows) for rows in calls.rows] == [50]


def test_a_batch_holds_one_slot(app, calls):
    calls.gate.clear()
    double = batched(app, calls, size=20)
    with app.worker(concurrency=2):
        rows = app.send_many([double.s(number) for number in range(20)])
        happened(calls.began, "the batch runs")
        assert app.send(app.signature("value", 5)).get(timeout=60) == 5
        calls.gate.set()
        assert [row.get(timeout=60) for row in rows] == [2 * number for number in range(20)]


def test_a_worker_that_stops_releases_the_rows_that_wait(app, calls):
    double = batched(app, calls)
    worker = app.worker().start()
    rows = app.send_many([double.s(1), double.s(2)])
    until(lambda: {row.state() for row in rows} == {State.STARTED}, "the rows are collected")
    worker.stop()
    records = app.runtime.backend.read([row.id for row in rows])
    assert [(record.state, record.attempt) for record in records] == [(State.RECEIVED, 0)] * 2
    assert calls.rows == []
    with app.worker():
        double.send(3)
        assert [row.get(timeout=60) for row in rows] == [2, 4]
    assert sorted(calls.rows[0]) == [1, 2, 3]


def test_a_worker_at_the_end_of_its_grace_releases_the_rows_that_run(app, calls):
    calls.gate.clear()
    double = batched(app, calls)
    worker = app.worker().start()
    rows = app.send_many([double.s(number) for number in range(3)])
    happened(calls.began, "the batch runs")
    worker.stop(grace_seconds=0)
    calls.gate.set()
    with app.worker():
        assert [row.get(timeout=60) for row in rows] == [0, 2, 4]


def test_rows_of_a_dead_worker_run_elsewhere(app, calls):
    double = batched(app, calls)
    with VirtualTime(app) as clock:
        rows = app.send_many([double.s(number) for number in range(5)])
        dead = app.worker()
        assert len(dead._stages.batches.ready(dead._receiver.start(dead._receive_now()))) == 0  # two rows wait
        assert len(dead._stages.batches.ready(dead._receiver.start(dead._receive_now()))) == 1  # and it dies
        clock.run_ready()
        assert calls.rows == [[4]]
        clock._clock.turn(31)
        clock.run_ready()
        assert [row.get(timeout=0) for row in rows] == [0, 2, 4, 6, 8]
        assert {row.record().attempt for row in rows} == {0}


def test_a_row_that_is_cancelled_while_it_waits_does_not_run(app, calls):
    double = batched(app, calls, wait=20)
    with app.worker(lease_seconds=1):
        rows = app.send_many([double.s(1), double.s(2)])
        until(lambda: {row.state() for row in rows} == {State.STARTED}, "the rows are collected")
        worker = next(iter(app._workers))
        app.cancel(rows[0].id)
        until(lambda: any(run.stopped for run in worker._in_flight.all()), "the worker knows")
        double.send(3)
        assert rows[1].get(timeout=60) == 4
        with pytest.raises(TaskCancelled):
            rows[0].get(timeout=60)
    assert sorted(row for call in calls.rows for row in call) == [2, 3]


def test_a_row_that_expires_while_it_waits_does_not_run(memory_app, calls):
    double = batched(memory_app, calls, wait=0.4)
    with memory_app.worker():
        rows = [double.s(1).set(expires=0.1).send(), double.send(2)]
        assert rows[1].get(timeout=60) == 4
        with pytest.raises(TaskExpired):
            rows[0].get(timeout=60)
    assert calls.rows == [[2]]


def test_a_time_limit_is_one_of_the_batch(app):
    @app.task(name="endless", batch=Batch(2, wait=60), timeout=0.1)
    def endless(rows: list[int]) -> None:
        pause = threading.Event()
        while not pause.wait(0.005):
            pass

    with app.worker():
        for row in app.send_many([endless.s(1), endless.s(2)]):
            with pytest.raises(TaskFailed, match="TaskTimeout"):
                row.get(timeout=60)


def test_rows_with_other_time_limits_are_other_batches(app, calls):
    double = batched(app, calls, size=2)
    with app.worker():
        rows = app.send_many([double.s(number).set(timeout=30 + number % 2) for number in range(4)])
        assert [row.get(timeout=60) for row in rows] == [0, 2, 4, 6]
    assert sorted(calls.rows) == [[0, 2], [1, 3]]


def test_rows_are_parts_of_workflows(app, calls):
    double = batched(app, calls, wait=0.05)
    with app.worker():
        value, total = app.signature("value", 4), app.signature("total")
        assert app.send(chain(value, double.s(), app.signature("value"))).get(timeout=60) == 8
        assert app.send(group(double.s(number) for number in range(4))).get(timeout=60) == [0, 2, 4, 6]
        assert app.send(chord([double.s(number) for number in range(5)], total)).get(timeout=60) == 20


def test_a_row_may_continue_with_a_workflow(app, calls):
    @app.task(name="split", batch=Batch(2, wait=60))
    def split(rows: list[int]) -> list[Any]:
        return [row if row < 5 else current_batch()[at].replace(split.s(row - 5)) for at, row in enumerate(rows)]

    with app.worker():
        handles = app.send_many([split.s(3), split.s(9)])
        assert handles[0].get(timeout=60) == 3
        split.send(0)
        assert handles[1].get(timeout=60) == 4


def test_a_batched_task_has_no_chunks(memory_app, calls):
    double = batched(memory_app, calls)
    with pytest.raises(InvalidSignature, match=r"holds for each call; use starmap"):
        double.chunks([(1,), (2,)], 2).send()
    handle = double.map([1, 2, 3]).send()
    memory_app.worker().drain()
    assert handle.get(timeout=60) == [2, 4, 6]
    assert calls.rows == [[1, 2, 3]]


def test_a_blueprint_may_have_batched_tasks(memory_app, calls):
    blueprint = Blueprint("search")

    @blueprint.task(name="search.index", batch=Batch(10))
    def index(rows: list[str]) -> list[int]:
        calls.note(rows)
        return [len(row) for row in rows]

    memory_app.include(blueprint)
    handles = [index.send("a"), index.send("bb")]
    memory_app.worker().drain()
    assert [handle.get(timeout=60) for handle in handles] == [1, 2]
    assert calls.rows == [["a", "bb"]]


def test_providers_are_opened_once_for_a_batch(memory_app):
    opened = []

    def connect() -> str:
        opened.append("connection")
        return "connected"

    @memory_app.task(name="stored", batch=Batch(10))
    def stored(rows: list[int], connection: str = provided(connect)) -> list[str]:
        return [f"{row} {connection}" for row in rows]

    handles = [stored.send(1), stored.send(2)]
    memory_app.worker().drain()
    assert [handle.get(timeout=60) for handle in handles] == ["1 connected", "2 connected"]
    assert opened == ["connection"]


def test_limits_and_unique_keys_are_those_of_rows(app, calls):
    @app.task(
        name="save",
        batch=Batch(4, wait=0.05),
        limits=[Concurrency("tenant:{row.name}", 2)],
        unique=Unique(key="{row.name}/{row.size}"),
    )
    def save(rows: list[Row]) -> list[int]:
        calls.note(rows)
        return [row.size for row in rows]

    with app.worker():
        rows = [save.send(Row("a", number)) for number in range(4)]
        assert [row.get(timeout=60) for row in rows] == [0, 1, 2, 3]
    assert all(len(rows) <= 2 for rows in calls.rows)
    with pytest.raises(InvalidSignature, match="the task has other parameters: row"):
        app.task(name="wrong", batch=Batch(2), limits=[Concurrency("{rows}", 1)])(lambda rows: None)


def test_a_pause_releases_the_rows_of_its_queue(app, calls):
    double = batched(app, calls, queue="slow")
    worker = app.worker(queues=["default", "slow"]).start()
    rows = app.send_many([double.s(1), double.s(2)])
    until(lambda: {row.state() for row in rows} == {State.STARTED}, "the rows are collected")
    app.operations.pause("slow")
    until(lambda: {row.state() for row in rows} == {State.RECEIVED}, "the rows are released")
    app.operations.resume("slow")
    double.send(3)
    assert [row.get(timeout=60) for row in rows] == [2, 4]
    worker.stop()


def test_rows_that_do_not_fit_are_offered_to_others_and_the_rest_runs(memory_app, calls):
    @memory_app.task(name="strict", batch=Batch(3, wait=60))
    def strict(rows: list[int]) -> list[int]:
        calls.note(rows)
        return rows

    sender = type(memory_app)(memory_app.settings.broker, memory_app.settings.backend)
    with sender, memory_app.worker(version_mismatch_seconds=0):
        handles = sender.send_many([sender.signature("strict", row) for row in (1, "no", 3)])
        assert [handles[0].get(timeout=60), handles[2].get(timeout=60)] == [1, 3]
        with pytest.raises(TaskFailed, match="InvalidArguments"):
            handles[1].get(timeout=60)
    assert calls.rows == [[1, 3]]


def test_the_context_is_one_of_each_row(app):
    @app.task(name="who", batch=Batch(2, wait=60))
    def who(rows: list[int]) -> list[str]:
        with pytest.raises(RuntimeError, match="use current_batch"):
            current_task()
        return [context.task_id for context in current_batch()]

    with app.worker():
        handles = app.send_many([who.s(1), who.s(2)])
        assert [handle.get(timeout=60) for handle in handles] == [handle.id for handle in handles]
    with pytest.raises(RuntimeError, match="no batch runs here"):
        current_batch()


def test_plugins_surround_each_row(make_app, memory_url, calls):
    inside = []

    class Surrounds:
        @hookimpl
        def around_run(self, event):
            inside.append(event.task_id)

    app = make_app(memory_url, plugins=[Surrounds()])
    double = batched(app, calls, size=2)
    handles = app.send_many([double.s(1), double.s(2)])
    app.worker().drain()
    assert inside == [handle.id for handle in handles]


def test_draining_puts_all_that_is_ready_together(memory_app, calls):
    double = batched(memory_app, calls, size=20)
    rows = memory_app.send_many([double.s(number) for number in range(25)])
    assert memory_app.worker().drain() == 25
    assert [row.get(timeout=60) for row in rows] == [2 * number for number in range(25)]
    assert [len(rows) for rows in calls.rows] == [20, 5]


def test_virtual_time_runs_batches(memory_app, calls):
    double = batched(memory_app, calls, size=20, retry=retry.fixed(10, max_retries=1))
    with VirtualTime(memory_app) as time:
        double.s(1).set(delay=5).send()
        double.send(2)
        double.send("bad")
        time.run_ready()
        assert calls.rows == [[2, "bad"]]
        time.run_for(seconds=20)
        assert calls.rows == [[2, "bad"], [1], ["bad"]]


def test_child_processes_run_batches(children):
    with children.app.worker():
        handles = children.app.send_many([children.squares.s(row) for row in (2, 3, "x")])
        values = [handle.get(timeout=60) for handle in handles[:2]]
        assert [value for value, _ in values] == [4, 9]
        assert len({pid for _, pid in values}) == 1
        with pytest.raises(TaskFailed, match="x is no number"):
            handles[2].get(timeout=60)


def test_rows_in_child_processes_report_their_progress(children, tmp_path):
    gate = tmp_path / "gate"
    with children.app.worker():
        handles = children.app.send_many([children.rows_report.s(str(gate)) for _ in range(2)])
        until(lambda: sorted(handle.progress() for handle in handles) == [(0, 3), (1, 3)], "both have reported")
        gate.touch()
        assert [handle.get(timeout=60) for handle in handles] == [None, None]


def test_a_batch_whose_child_dies_is_run_again(children, tmp_path):
    with children.app.worker():
        handles = children.app.send_many([children.dies_once.s(str(tmp_path / "died")) for _ in range(2)])
        assert [handle.get(timeout=60) for handle in handles] == ["lives", "lives"]
        assert [handle.record().attempt for handle in handles] == [0, 0]


def test_operators_see_which_rows_wait_and_which_run_together(app, calls):
    calls.gate.clear()
    double = batched(app, calls, size=2)
    with app.worker() as worker:
        running = app.send_many([double.s(1), double.s(2)])
        happened(calls.began, "the batch runs")
        waiting = double.send(3)
        until(lambda: waiting.state() is State.STARTED, "the row is collected")
        status = worker._stages.status_reporter.status()
        assert {one.task_id for one in status.running} == {row.id for row in running}
        assert len({one.batch for one in status.running}) == 1
        assert status.running[0].batch
        assert running_document(status.running[0])["batch"] == status.running[0].batch
        assert [(one.task_id, one.collected) for one in status.waiting] == [(waiting.id, True)]
        assert waiting_document(status.waiting[0])["waits_for"] == "batch"
        calls.gate.set()
        double.send(4)
        assert waiting.get(timeout=60) == 6


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda: None, "its parameters are: none"),
        (lambda one, two: None, "its parameters are: one, two"),
        (lambda *rows: None, "its parameters are: rows"),
    ],
)
def test_a_batched_function_takes_one_list(memory_app, function, text):
    with pytest.raises(InvalidSignature, match=text):
        memory_app.task(name="wrong", batch=Batch(2))(function)


def test_a_batched_function_says_what_its_rows_are(memory_app):
    def takes_number(rows: int) -> None: ...

    def returns_number(rows: list[int]) -> int:
        return len(rows)

    for function, text in ((takes_number, r"write list\[Row\]"), (returns_number, r"write list\[Result\] or None")):
        with pytest.raises(InvalidSignature, match=text):
            memory_app.task(name=function.__name__, batch=Batch(2))(function).send(1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 0}, "the size of a Batch is 0"),
        ({"size": 2.5}, "the size of a Batch is 2.5"),
        ({"size": 2, "wait": 0}, "the wait of a Batch is 0"),
        ({"size": 2, "wait": 3600}, "use 600 s at most"),
    ],
)
def test_wrong_batches_are_refused(options, text):
    with pytest.raises(InvalidSignature, match=text):
        Batch(**options)


def test_only_a_batch_is_a_batch(memory_app):
    with pytest.raises(InvalidSignature, match=r"use Batch\(size"):
        memory_app.task(name="wrong", batch=100)(lambda rows: None)
