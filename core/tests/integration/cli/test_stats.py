"""``drivetrain stats``: what became of tasks over time."""

import re

import pytest

from drivetrain import App
from drivetrain.cli.counts_tables import bar_seconds, chart, counts_table
from drivetrain.cli.output import seconds_text
from drivetrain.worker.counts.histogram import Histogram
from drivetrain.worker.counts.over_time import CountsOverTime, CountsPoint
from drivetrain.worker.counts.task_counts import CountedTasks, TaskCounts


@pytest.fixture
def worked(shop):
    """Three tasks have run, in an app of its own: a command closes the app that it has loaded."""
    with App("sqlite:///work.db") as app:

        @app.task(name="mail")
        def mail() -> None: ...

        @app.task(name="bill", queue="bills")
        def bill() -> None: ...

        with app.worker(queues=["default", "bills"]):
            for handle in [mail.send(), mail.send(), bill.send()]:
                handle.get(timeout=60)


def stats(*options):
    return ("--app", "shop:app", "stats", *options)


def cells(line):
    return re.split(r"\s{2,}", line.strip())


def test_nothing_was_counted(shop, run):
    assert run(*stats()).stdout.startswith("No worker has counted anything from 20")


def test_a_row_for_each_task_and_one_for_all(worked, run):
    headers, *rows = run(*stats()).stdout.splitlines()
    assert cells(headers)[:4] == ["TASK", "RECEIVED", "SUCCEEDED", "FAILED"]
    assert [cells(row)[:3] for row in rows[:3]] == [["bill", "1", "1"], ["mail", "2", "2"], ["(all)", "3", "3"]]
    assert "A bar of the chart is 0:01:00 long" in rows[-1]


def test_a_row_for_each_queue(worked, run):
    _, *rows = run(*stats("--by", "queue")).stdout.splitlines()
    assert [cells(row)[:2] for row in rows[:3]] == [["bills", "1"], ["default", "2"], ["(all)", "3"]]


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ((), 3),
        (("--task", "mail"), 2),
        (("--queue", "bills"), 1),
        (("--task", "mail", "--queue", "bills"), 0),
        (("--since", "2d", "--step", "1h"), 3),
        (("--until", "30m"), 0),
    ],
)
def test_json(worked, run_json, options, received):
    code, document = run_json(*stats(*options))
    assert (code, document["total"]["received"]) == (0, received)
    assert sum(point["received"] for point in document["points"]) == received
    assert sum(one["received"] for one in document["tasks"].values()) == received
    assert document["total"]["run"]["count"] == document["total"]["waiting"]["count"] == received


@pytest.mark.parametrize("option", [("--step", "soon"), ("--step", "1.5h"), ("--since", "soon"), ("--by", "worker")])
def test_wrong_options_are_refused(shop, run, option):
    assert run(*stats(*option)).exit_code == 2


def test_a_backend_that_stores_nothing(shop, run):
    told = run("--broker", "memory://", "--backend", "null://", "stats")
    assert told.exit_code != 0
    assert "counts over time need a backend that stores results" in told.stderr


@pytest.mark.parametrize(
    ("values", "shown"),
    [([], ""), ([0, 0], "··"), ([0, 1, 8], "·▂█"), ([1] * 128, "█" * 64), ([0] * 64 + [5] * 64, "·" * 32 + "█" * 32)],
)
def test_a_chart(values, shown):
    assert chart(values) == shown


def test_a_chart_without_unicode():
    assert chart([0, 1, 8], "ascii") == ".-@"
    assert chart([8], "no such encoding") == "@"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.00123456, "1.23 ms"),
        (0.9999, "1 s"),
        (59.94, "59.9 s"),
        (999.9, "16.7 min"),
        (86400.0, "24 h"),
    ],
)
def test_a_duration(seconds, text):
    assert seconds_text(seconds) == text


def test_names_that_no_worker_knows_have_one_row():
    counts = TaskCounts(received=1, failed=1, waiting=Histogram.of([1.5]))
    points = [CountsPoint(start=0), CountsPoint(start=3600, tasks=[CountedTasks("", "q", counts)])]
    over_time = CountsOverTime(since=0, until=7200, step_seconds=3600, points=points)
    headers, (row,) = counts_table(over_time, by_queue=False, encoding="utf-8")
    assert row == ("(unknown)", 1, 0, 1, 0, 0, 0, 0, "1.25 s", "1.48 s", "", "", "·█")
    assert len(row) == len(headers)
    assert bar_seconds(over_time) == 3600
