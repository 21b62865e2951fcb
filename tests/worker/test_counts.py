"""Counts over time, from real workers to `Operations.counts`."""

from datetime import UTC, datetime, timedelta

import pytest

from drivetrain import App, ConfigurationError, NotSupported, TaskCancelled, TaskFailed
from drivetrain.contract import ServiceUnavailable, ValueWrite
from drivetrain.worker.counts.stored import MINUTE_PREFIX
from support.faults import Changed, rewire
from support.waiting import until

#: A range that no change of the minute cuts.
RECENT = {"since": datetime.now(UTC) - timedelta(hours=1)}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Write often, so that tests wait little."""
    monkeypatch.setattr("drivetrain.worker.counts.writer.WRITE_SECONDS", 0.02)


def test_they_tell_what_became_of_tasks(app):
    with app.worker(queues=["default", "urgent"]):
        for number in range(3):
            app.send(app.signature("value", number)).get(timeout=60)
        app.send(app.signature("value", 3).set(queue="urgent")).get(timeout=60)
        app.send(app.signature("flaky", 2)).get(timeout=60)
        with pytest.raises(TaskFailed):
            app.send(app.signature("broken")).get(timeout=60)
    found = app.operations.counts(**RECENT)
    by_task = found.by_task()
    assert (by_task["value"].received, by_task["value"].succeeded) == (4, 4)
    assert (by_task["flaky"].received, by_task["flaky"].retried, by_task["flaky"].succeeded) == (3, 2, 1)
    assert (by_task["broken"].received, by_task["broken"].failed) == (1, 1)
    assert found.by_queue()["urgent"].succeeded == 1
    assert (found.total.received, found.total.ended) == (8, 6)
    assert found.total.run.count == found.total.waiting.count == 8
    assert 0 <= found.total.run.quantile(0.5) <= found.total.run.max < 60
    assert app.operations.counts(task="value", queue="urgent", **RECENT).total.received == 1
    assert app.operations.counts(queue="none", **RECENT).total.received == 0


def test_a_task_that_was_cancelled_before_it_started_is_counted(app):
    handle = app.send(app.signature("value", 1))
    assert handle.cancel()
    with app.worker():
        with pytest.raises(TaskCancelled):
            handle.get(timeout=60)
        until(lambda: app.operations.counts(**RECENT).total.cancelled, "it is counted")
    assert app.operations.counts(**RECENT).total.cancelled == 1


def test_workers_of_one_name_do_not_overwrite_each_other(app):
    for number in range(3):
        with app.worker(name="the same"):
            app.send(app.signature("value", number)).get(timeout=60)
    assert app.operations.counts(**RECENT).total.succeeded == 3


def test_an_outage_of_the_backend_is_logged_once_and_loses_nothing(memory_app, caplog):
    class Backend(Changed):
        away = False

        def write_values(self, writes):
            if self.away and any(write.key.startswith(MINUTE_PREFIX) for write in writes):
                raise ServiceUnavailable("the backend is away")
            return self._driver.write_values(writes)

    backend = Backend(memory_app.runtime.backend)
    rewire(memory_app, backend=backend)
    with memory_app.worker():
        backend.away = True
        memory_app.send(memory_app.signature("value", 1)).get(timeout=60)
        until(lambda: "cannot write counts" in caplog.text, "it is logged")
        memory_app.send(memory_app.signature("value", 2)).get(timeout=60)
        backend.away = False
        until(lambda: memory_app.operations.counts(**RECENT).total.succeeded == 2, "both are counted")
    assert caplog.text.count("cannot write counts") == 1


def test_counts_of_another_version_are_skipped_and_logged(app, caplog):
    app.runtime.backend.write_values([ValueWrite(key=MINUTE_PREFIX + "1/odd", value=b'{"start": "?"}')])
    with app.worker():
        app.send(app.signature("value", 1)).get(timeout=60)
    assert app.operations.counts(**RECENT).total.succeeded == 1
    assert "cannot read the counts counts/minute/1/odd" in caplog.text


def test_without_a_retention_nothing_is_written(url, app):
    with App(url, counts_retention_seconds=0) as other:
        with app.worker(counts_retention_seconds=0):
            app.send(app.signature("value", 1)).get(timeout=60)
        assert app.operations.counts(**RECENT).total.received == 0
        with pytest.raises(NotSupported, match="counts_retention_seconds is 0"):
            other.operations.counts()


def test_a_backend_that_stores_nothing_has_no_counts():
    with App("memory://", "null://") as app, pytest.raises(NotSupported, match="null://"):
        app.operations.counts()


def test_wrong_ranges_are_refused(app):
    now = datetime.now(UTC)
    with pytest.raises(ConfigurationError, match="no time zone"):
        app.operations.counts(since=datetime(2026, 1, 1))  # noqa: DTZ001 - it must be refused
    with pytest.raises(ConfigurationError, match="not before the end"):
        app.operations.counts(since=now + timedelta(hours=1))


def test_points_cover_the_range_without_a_gap(app):
    now = datetime.now(UTC)
    found = app.operations.counts(since=now - timedelta(minutes=30), until=now - timedelta(minutes=10))
    assert found.step_seconds == 60
    assert [point.start for point in found.points] == list(range(found.since, found.until, 60))
    assert found.since <= now.timestamp() - 1800 < found.since + 60
    assert found.until - 60 < now.timestamp() - 600 <= found.until


@pytest.mark.parametrize(
    ("ago", "step", "seconds"),
    [
        (timedelta(hours=2), None, 60),
        (timedelta(hours=2), timedelta(seconds=1), 60),
        (timedelta(hours=2), timedelta(minutes=5), 300),
        (timedelta(hours=2), timedelta(minutes=10), 600),
        (timedelta(hours=20), None, 600),
        (timedelta(hours=20), timedelta(minutes=1), 600),
        (timedelta(hours=20), timedelta(minutes=15), 1200),
        (timedelta(days=30), timedelta(hours=1), 3600),
    ],
)
def test_a_step_is_as_asked_or_the_shortest_that_is_kept(app, ago, step, seconds):
    found = app.operations.counts(since=datetime.now(UTC) - ago, step=step)
    assert found.step_seconds == seconds
    assert len(found.points) <= 289
