"""A plugin's part in the supervisor: one for all worker processes, which report to it."""

import signal

import pytest

from drivetrain.cli.plugin_reports import ReportChannels, SupervisorParts, pickled_parts, serve_reports
from drivetrain.contract import hookimpl
from drivetrain.worker.threads import Threads

PARTS = '''
import logging
import os
import threading

from drivetrain import App, hookimpl
from shop import app

logger = logging.getLogger("drivetrain.supervisor")


class Part:
    """Logs the reports when two processes have answered."""

    def start(self, reports):
        logger.info("the part has started")
        self._stopped = threading.Event()
        threading.Thread(target=self._run, args=(reports,), daemon=True).start()
        return self.stop

    def _run(self, reports):
        while not self._stopped.wait(0.01):
            if len(found := reports()) == 2:
                logger.info("reports of %s", [(number, report.decode()) for number, report in found])
                return

    def stop(self):
        self._stopped.set()
        logger.info("the part has stopped")


class Plugin:
    @hookimpl
    def supervisor_part(self):
        return Part()

    @hookimpl
    def worker_report(self):
        return f"pid {os.getpid()}".encode()


class Broken:
    @hookimpl
    def supervisor_part(self):
        raise RuntimeError("dear me")
'''


@pytest.fixture
def parts(project, monkeypatch):
    (project / "parts.py").write_text(PARTS + "\n\napp.add_plugins(Broken(), Plugin())\n")
    return "parts:app"


def test_one_part_gets_the_reports_of_all_processes(start_worker, parts):
    worker = start_worker("--processes", "2", reference=parts, workers=0)
    line = worker.wait_for("reports of")
    assert "(1, 'pid " in line
    assert "(2, 'pid " in line
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert sum("the part has started" in line for line in worker.lines) == 1
    assert any("the part has stopped" in line for line in worker.lines)
    assert any("plugin Broken raised an error in its hook supervisor_part" in line for line in worker.lines)


def test_plugins_of_the_command_line_are_added(run, start_worker):
    outcome = run("worker", "shop:app", "--no-supervisor", "--plugins", "nothing-like-this")
    assert outcome.exit_code == 2
    assert "no installed package serves the plugin 'nothing-like-this'" in outcome.stderr


class Reporting:
    def __init__(self, report):
        self.report = report

    @hookimpl
    def worker_report(self):
        if isinstance(self.report, Exception):
            raise self.report
        return self.report


@pytest.fixture
def serve():
    """Serve the reports of plugins in a thread, as a worker process does."""
    ends = []

    def start(theirs, plugins):
        ends.append(theirs)
        Threads(lambda *_: None).start("reports", lambda: serve_reports(theirs, plugins))

    yield start
    for end in ends:
        end.close()


def test_a_process_that_has_ended_or_does_not_answer_is_left_out(serve, caplog):
    channels = ReportChannels()
    serve(channels.open(1), {"p": Reporting(b"one"), "q": Reporting(None)})
    channels.open(2).close()
    silent = channels.open(3)
    serve(channels.open(4), {"p": Reporting(RuntimeError("dear me")), "q": Reporting(b"four")})
    assert channels.collect("p") == [(1, b"one")]
    assert "dear me" in caplog.text
    assert channels.collect("q") == [(4, b"four")]
    serve(silent, {"p": Reporting(b"three"), "q": Reporting(b"")})
    assert channels.collect("p") == [(1, b"one"), (3, b"three")], (
        "answers that came too late are not taken for later ones"
    )
    for number in range(1, 5):
        channels.close(number)
    assert channels.collect("p") == []


class Stopping:
    """A part whose start or stop fails."""

    def __init__(self, *, starts):
        self.starts = starts

    def start(self, reports):
        if not self.starts:
            raise RuntimeError("cannot start")
        return self.stop

    def stop(self):
        raise RuntimeError("cannot stop")


class WithPart:
    def __init__(self, part):
        self.part = part

    @hookimpl
    def supervisor_part(self):
        return self.part


def test_a_part_that_fails_does_not_end_the_supervisor(caplog):
    plugins = {"a": WithPart(Stopping(starts=False)), "b": WithPart(Stopping(starts=True)), "c": WithPart(lambda: 1)}
    pickled = pickled_parts(plugins)
    assert [name for name, _ in pickled] == ["a", "b"]
    parts = SupervisorParts(ReportChannels())
    parts.start([*pickled, ("d", b"not pickled")])
    parts.stop()
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [
        "c raised an error in its hook supervisor_part; continuing without it",
        "the part of a in the supervisor has failed; continuing without it",
        "the part of d in the supervisor has failed; continuing without it",
        "the part of b in the supervisor cannot be stopped",
    ]
