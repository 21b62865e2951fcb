"""``drivetrain schedules`` and ``drivetrain scheduler``."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain import App, cron, every


@pytest.fixture
def app(project):
    """The shop's app with a schedule of run time, and one that code declared before."""
    app = App("sqlite:///work.db?synchronous=normal")
    app.schedule("declared", app.signature("shop.add", 1, 2), cron("30 2 * * *", tz="Europe/Paris"), note="books")
    app.scheduler().tick()
    app.schedules.put("hourly", app.signature("shop.add", 3, 4), every(hours=1))
    yield app
    app.close()


def document(run, *arguments):
    return json.loads(run(*arguments, "--json", "--app", "shop:app").stdout)


def test_schedules_are_listed_and_shown(app, run):
    listed = run("schedules", "list", "--app", "shop:app").stdout
    assert "30 2 * * * (Europe/Paris)" in listed
    assert "every 3600 s" in listed
    found = {one["id"]: one for one in document(run, "schedules", "list", "--next", "2")["schedules"]}
    assert sorted(found) == ["declared", "hourly"]
    assert [found[name]["declared"] for name in ("declared", "hourly")] == [True, False]
    assert len(found["hourly"]["next"]) == 2
    shown = document(run, "schedules", "show", "declared")
    assert shown["options"]["note"] == "books"
    assert len(shown["next"]) == 5
    assert "Europe/Paris" in run("schedules", "show", "declared", "--app", "shop:app").stdout


def test_a_schedule_is_paused_resumed_and_triggered(app, run):
    assert "Paused hourly" in run("schedules", "pause", "hourly", "--why", "audit", "--app", "shop:app").stdout
    paused = document(run, "schedules", "show", "hourly")
    assert (paused["state"], paused["paused"]["why"]) == ("paused", "audit")
    assert "@" in paused["paused"]["by"]
    assert "Resumed hourly" in run("schedules", "resume", "hourly", "--app", "shop:app").stdout
    assert "was not paused" in run("schedules", "resume", "hourly", "--missed", "--app", "shop:app").stdout
    task_id = run("schedules", "trigger", "hourly", "--app", "shop:app").stdout.strip()
    (record,) = app.runtime.backend.read([task_id])
    assert record.task == "shop.add"


def test_past_ticks_are_backfilled_once(app, run):
    arguments = ("schedules", "backfill", "hourly", "--from", "5h", "--to", "1s", "--yes")
    first, second = document(run, *arguments), document(run, *arguments)
    assert len(first["sent"]) == 5
    assert (second["sent"], len(second["known"])) == ([], 5)


def test_a_schedule_is_removed_unless_code_declares_it(app, run):
    assert document(run, "schedules", "remove", "hourly", "--yes")["id"] == "hourly"
    gone = run("schedules", "show", "hourly", "--app", "shop:app")
    assert gone.exit_code == 3
    assert "there is no schedule 'hourly'" in gone.stderr
    declared = run("schedules", "remove", "declared", "--yes", "--app", "shop:app")
    assert declared.exit_code == 2
    assert "remove it there, or pause it here" in declared.stderr


def test_without_schedules_the_list_says_so(project, run):
    assert "There are no schedules" in run("schedules", "list", "--app", "shop:app").stdout


def test_a_scheduler_ticks_until_it_is_stopped(app, project):
    app.schedules.put("often", app.signature("shop.add", 1, 1), every(seconds=1))
    scheduler = subprocess.Popen(
        [Path(sys.executable).with_name("drivetrain"), "scheduler", "shop:app"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        missing = {"ticking the schedules", "not declared any more"}  # in either order: two threads log them
        for line in iter(scheduler.stderr.readline, ""):
            missing -= {text for text in missing if text in line}
            if not missing:
                break
        assert missing == set()
        scheduler.send_signal(signal.SIGTERM)
        assert "the scheduler has stopped" in scheduler.stderr.read()
        assert scheduler.wait(timeout=60) == 0
    finally:
        scheduler.kill()
        scheduler.wait()
        scheduler.stderr.close()
    assert {one.id: one.state for one in app.schedules.list()}["declared"] == "orphaned"
