"""Routing: queues by the names of tasks, or by a function."""

import pytest

from drivetrain import App, ConfigurationError, InvalidSignature, group


def _queues(app, *workflows):
    with app:
        handles = app.send_many(workflows)
        return [one.record().queue for handle in handles for one in (handle.members or [handle])]


def test_patterns_choose_queues_before_the_task_and_after_the_call():
    app = App("memory://", routes={"mails.*": "mails", "*": "rest"})
    app.task(name="mails.send", queue="own")(lambda: None)
    app.task(name="other", queue="own")(lambda: None)
    call = app.signature("mails.send").set(queue="urgent")
    assert _queues(app, app.signature("mails.send"), app.signature("other"), call) == ["mails", "rest", "urgent"]


def test_a_function_sees_the_arguments_and_may_leave_it_to_the_patterns_and_the_task():
    def route(task, args, kwargs):
        return f"tenant-{kwargs['tenant']}" if "tenant" in kwargs else None

    app = App("memory://", route=route, routes={"known": "known"})
    app.task(name="work", queue="own")(lambda tenant=None: None)
    app.task(name="known")(lambda: None)
    work, unknown = app.signature("work"), app.signature("elsewhere", tenant="b")
    signatures = [app.signature("work", tenant="a"), work, app.signature("known"), group(unknown, work)]
    assert _queues(app, *signatures) == ["tenant-a", "own", "known", "tenant-b", "own"]


def test_a_function_that_returns_something_else_is_named_with_its_task():
    with App("memory://", route=lambda task, args, kwargs: 3) as app:
        app.task(name="work")(lambda: None)
        with pytest.raises(InvalidSignature, match="the routing function has returned 3 for task work"):
            app.send(app.signature("work"))


def test_wrong_routes_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="route is 'mails'"):
        App("memory://", route="mails")
    with pytest.raises(ConfigurationError, match="routes is a table; it must be"):
        App("memory://", routes={"mails.*": ""})
    file = tmp_path / "settings.toml"
    file.write_text('broker = "memory://"\nroute = "x"\n[routes]\n"mails.*" = "mails"\n')
    with pytest.raises(ConfigurationError, match="'route' is not a setting; pass it in code"):
        App(config=file)
