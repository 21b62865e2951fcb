"""The backend of Django's tasks framework."""

from datetime import UTC, datetime, timedelta

import pytest


@pytest.fixture
def signals(shop):
    """The signals that were sent: the name, and the result as it was then."""
    from django_tasks import signals

    seen = []
    receivers = []
    for name in ("task_enqueued", "task_started", "task_finished"):

        def receive(sender, task_result, name=name, **more):
            seen.append((name, task_result.status.value, task_result.task.name))

        getattr(signals, name).connect(receive)
        receivers.append((name, receive))
    yield seen
    for name, receive in receivers:
        getattr(signals, name).disconnect(receive)


def test_a_task_is_enqueued_run_and_read(shop, time, signals):
    result = shop.mail.enqueue("ada", copies=2)
    assert (result.status.value, result.args, result.kwargs, result.attempts) == ("READY", ["ada"], {"copies": 2}, 0)
    assert result.enqueued_at is not None
    time.run_ready()
    result.refresh()
    assert (result.status.value, result.return_value, result.attempts) == ("SUCCESSFUL", "2 to ada", 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert signals == [
        ("task_enqueued", "READY", "mail"),
        ("task_started", "RUNNING", "mail"),
        ("task_finished", "SUCCESSFUL", "mail"),
    ]
    again = shop.mail.get_result(result.id)
    assert (again.args, again.kwargs, again.task.func) == (["ada"], {"copies": 2}, shop.mail.func)


def test_a_coroutine_function_and_a_context(shop, project):
    from drivetrain_django import app

    with app.worker(queues=("default", "mails")):
        pending = [shop.add_async.enqueue(1, 2), shop.who.enqueue()]
        for result in pending:
            app.result(result.id).wait(60)
            result.refresh()
    assert pending[0].return_value == 3
    assert pending[1].return_value == [pending[1].id, 1]


def test_a_failure_has_its_class_and_its_traceback(shop, time, signals):
    result = shop.broken.enqueue()
    time.run_ready()
    result.refresh()
    (error,) = result.errors
    assert (result.status.value, error.exception_class) == ("FAILED", LookupError)
    assert error.traceback.endswith("LookupError: it is broken\n")
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018
    assert signals[-1] == ("task_finished", "FAILED", "broken")


def test_a_cancelled_task_has_failed_with_an_error_that_can_be_imported(shop, time):
    from drivetrain import TaskCancelled
    from drivetrain_django import app

    result = shop.add.enqueue(1, 2)
    app.result(result.id).cancel()
    result.refresh()
    assert result.status.value == "FAILED"
    assert result.errors[0].exception_class is TaskCancelled


def test_queue_priority_and_time_are_those_of_the_task(shop, time):
    from drivetrain import QueueSection
    from drivetrain_django import app

    at = datetime.now(UTC) + timedelta(days=1)
    result = shop.mail.using(run_after=at, priority=100).enqueue("ada")
    (message,) = app.runtime.broker.peek("mails", QueueSection.DELAYED, limit=5)
    assert message.priority == app.runtime.broker.capabilities.priority_levels - 1
    assert message.eta == pytest.approx(at.timestamp())
    assert time.run_ready() == 0
    assert shop.mail.get_result(result.id) == result
    time.run_for(days=2)
    result.refresh()
    assert result.return_value == "1 to ada"


def test_an_unknown_id_and_another_tasks_id(shop, time):
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch

    with pytest.raises(TaskResultDoesNotExist):
        shop.add.get_result("nobody")
    with pytest.raises(TaskResultMismatch):
        shop.add.get_result(shop.mail.enqueue("ada").id)


def test_on_commit_gives_the_id_before(shop, time, signals):
    from django.db import transaction

    with transaction.atomic():
        result = shop.after_commit.enqueue(4)
        assert result.id
        assert signals == []
        assert time.run_ready() == 0
    assert signals == [("task_enqueued", "READY", "after_commit")]
    time.run_ready()
    result.refresh()
    assert result.return_value == 4


def test_arguments_must_be_json(shop, time):
    with pytest.raises(TypeError):
        shop.add.enqueue(object(), 1)


def test_async_code_enqueues_and_reads(shop, time):
    import asyncio

    async def code():
        result = await shop.add.aenqueue(1, 2)
        return await shop.add.aget_result(result.id)

    assert asyncio.run(code()).args == [1, 2]


def test_wrong_options_and_a_missing_app_are_reported(shop):
    from django.core.exceptions import ImproperlyConfigured
    from django.test import modify_settings

    from drivetrain_django.tasks_backend import DrivetrainBackend

    with pytest.raises(ImproperlyConfigured, match="has unknown keys: ONCOMMIT; known are ON_COMMIT"):
        DrivetrainBackend("default", {"OPTIONS": {"ONCOMMIT": True}})
    assert list(DrivetrainBackend("default", {}).check()) == []
    with modify_settings(INSTALLED_APPS={"remove": ["drivetrain_django"]}):
        (fault,) = DrivetrainBackend("default", {}).check()
    assert fault.id == "drivetrain.E002"
