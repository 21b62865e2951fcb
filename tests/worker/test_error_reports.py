"""What log tools and error reporters are given of a task that fails, and of one that succeeds."""

import logging
import os
import sys
from pathlib import Path

import pytest

from drivetrain import Retry, TaskFailed, hookimpl, retry
from support.waiting import Log, until


class Reporter:
    """Notes each exception object that it is shown: (task, error, another attempt follows)."""

    def __init__(self):
        self.raised = Log()

    @hookimpl
    def task_raised(self, event, error, retrying):
        self.raised.note(event.task, error, retrying)


@pytest.fixture
def reporter():
    return Reporter()


@pytest.fixture
def app(make_app, memory_url, reporter):
    return make_app(memory_url, plugins=[reporter])


def lines(caplog, logger):
    return [record for record in caplog.records if record.name == logger]


def run(app, function, **options):
    """The failure that a worker of ``app`` makes of ``function``."""
    task = app.task(name="reported", **options)(function)
    with app.worker(), pytest.raises(TaskFailed) as raised:
        task.send().get(timeout=60)
    return raised.value.failure


def broken():
    raise LookupError("no such page")


async def broken_on_the_loop():
    raise LookupError("no such page")


@pytest.mark.parametrize("function", [broken, broken_on_the_loop])
def test_a_failure_is_logged_with_its_exception_and_traceback(app, caplog, function):
    with caplog.at_level(logging.INFO, "drivetrain.task"):
        run(app, function)
    (line,) = lines(caplog, "drivetrain.task")
    assert line.levelno == logging.ERROR
    assert line.exc_info[0] is LookupError
    assert function.__name__ in line.exc_text or function.__name__ in caplog.text


@pytest.mark.parametrize("function", [broken, broken_on_the_loop])
def test_observers_get_the_exception_of_every_attempt(app, reporter, function):
    run(app, function, retry=retry.fixed(0.01, max_retries=1))
    assert [(task, type(error), retrying) for task, error, retrying in reporter.raised.notes] == [
        ("reported", LookupError, True),
        ("reported", LookupError, False),
    ]
    traceback = reporter.raised.notes[0][1].__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code is function.__code__


def test_an_observer_in_a_child_process_gets_the_exception_there(tmp_path, monkeypatch):
    monkeypatch.setenv("POOL_TASKS_ERRORS", str(tmp_path / "errors"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "pool_tasks", raising=False)
    import pool_tasks

    with pool_tasks.app, pool_tasks.app.worker():
        handle = pool_tasks.failing.send("in a child")
        with pytest.raises(TaskFailed):
            handle.get(timeout=60)
    (line,) = (tmp_path / "errors").read_text().splitlines()
    pid, told = line.split(" ", 1)
    assert int(pid) != os.getpid()
    assert told == f"{handle.id} LookupError('in a child') False"


def test_a_retry_is_logged_with_its_traceback_at_debug_only(app, caplog):
    for level in (logging.INFO, logging.DEBUG):
        caplog.clear()
        with caplog.at_level(level, "drivetrain.task"):
            run(app, broken, retry=retry.fixed(0.0, max_retries=1))
        retried, failed = lines(caplog, "drivetrain.task")
        assert bool(retried.exc_info) is (level == logging.DEBUG)
        assert failed.exc_info


def retry_from(error):
    raise Retry("once more") from error


def retry_within():
    try:
        raise OSError("disk full")
    except OSError:
        raise Retry("once more")  # noqa: B904 - that it has no cause is what is tested


def retry_without():
    try:
        raise OSError("disk full")
    except OSError:
        raise Retry("once more") from None


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (lambda: retry_from(OSError("disk full")), "builtins.OSError", "disk full"),
        (retry_within, "builtins.OSError", "disk full"),
        (retry_without, "drivetrain.worker.context.Retry", "once more"),
    ],
    ids=["from an error", "while handling an error", "from None"],
)
def test_what_asks_for_a_retry_in_vain_fails_with_the_error_that_it_handled(app, reporter, function, kind, message):
    failure = run(app, function, retry=retry.fixed(0.0, max_retries=1))
    assert (failure.type, failure.message, failure.attempt) == (kind, message, 1)
    kinds = {type(error).__name__ for _, error, _ in reporter.raised.notes}
    assert kinds == {kind.rpartition(".")[2]}


@pytest.mark.parametrize("asked", [False, True])
def test_successes_are_logged_where_that_is_asked_for(make_app, memory_url, caplog, asked):
    app = make_app(memory_url, log_successes=asked)
    with caplog.at_level(logging.INFO, "drivetrain.task"), app.worker():
        handle = app.send(app.signature("value", 1))
        assert handle.get(timeout=60) == 1
        until(lambda: not asked or lines(caplog, "drivetrain.task"), "it is logged")
    found = [(line.task_id, line.levelno) for line in lines(caplog, "drivetrain.task")]
    assert found == ([(handle.id, logging.INFO)] if asked else [])


HUGE = "x" * 15_728_640


def broken_at_length():
    raise LookupError(HUGE)


def test_an_error_of_any_length_is_logged_in_a_bounded_line_and_kept_whole(app, caplog):
    with caplog.at_level(logging.INFO, "drivetrain.task"):
        failure = run(app, broken_at_length, dead_letter=True)
    (line,) = lines(caplog, "drivetrain.task")
    assert len(line.getMessage()) < 5000
    assert line.getMessage().endswith("... (15,728,640 characters)")
    assert failure.message == HUGE
    (letter,) = app.operations.dead_letters("default")
    assert len(letter.reason) < 5000


def test_a_huge_name_of_a_task_that_is_not_known_is_logged_in_a_bounded_line(make_app, memory_url, caplog):
    app = make_app(memory_url, version_mismatch_seconds=0)
    with app.worker():
        app.send(app.signature(HUGE)).wait(60)
    assert lines(caplog, "drivetrain.worker")
    assert max(len(line.getMessage()) for line in lines(caplog, "drivetrain.worker")) < 10_000
