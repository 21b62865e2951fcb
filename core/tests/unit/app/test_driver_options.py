"""Options for drivers that no URL can hold: which driver takes them, which names are refused, what is never shown."""

import logging

import pytest

from drivetrain import App
from drivetrain.app.discovery import Drivers
from drivetrain.contract import Broker, ConfigurationError, DriverBroken, DriverContext, hookimpl

PROVIDER = object()


class Recorder:
    """A plugin that makes the drivers of every scheme that no installed package serves."""

    def __init__(self):
        self.options = {}

    @hookimpl
    def make_broker(self, url, context):
        self.options["broker", url] = context.options
        return Drivers(DriverContext()).broker("memory://")

    @hookimpl
    def make_backend(self, url, context):
        self.options["backend", url] = context.options
        return Drivers(DriverContext()).backend("memory://")


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def two_schemes(site, code):
    """A driver that serves two schemes, and another distribution that serves a third."""
    site.install("fake-queue", "[drivetrain.brokers]\nqueue=MODULE\nqueues=MODULE", code.broker)
    site.install("fake-other", "[drivetrain.brokers]\nother=MODULE", code.broker)


def test_a_context_has_no_options_by_default_and_they_are_read_only():
    assert dict(DriverContext().options) == {}
    given = {"provider": PROVIDER}
    context = DriverContext(options=given)
    given["more"] = 1
    assert dict(context.options) == {"provider": PROVIDER}
    with pytest.raises(TypeError):
        context.options["more"] = 1
    assert hash(context) == hash(context)


def test_a_context_shows_no_option():
    assert "hunter2" not in repr(DriverContext(options={"token": "hunter2"}))


def test_the_broker_and_the_backend_of_a_name_get_its_options(recorder):
    options = {"one": {"provider": PROVIDER}, "two": {"token": "t"}}
    with App("one://h", "two://h", plugins=[recorder], driver_options=options) as app:
        app.runtime.broker.queues()
    assert recorder.options == {("broker", "one://h"): {"provider": PROVIDER}, ("backend", "two://h"): {"token": "t"}}


def test_one_name_serves_both_kinds(recorder):
    with App("one://h", "one://h", plugins=[recorder], driver_options={"one": {"provider": PROVIDER}}) as app:
        app.runtime.broker.queues()
    assert {kind: dict(options) for (kind, _), options in recorder.options.items()} == {
        "broker": {"provider": PROVIDER},
        "backend": {"provider": PROVIDER},
    }


def test_options_under_one_scheme_of_a_driver_reach_its_other_schemes(two_schemes):
    found = Drivers(DriverContext(), options={"queue": {"provider": PROVIDER}})
    assert dict(found.broker("queues://h").context.options) == {"provider": PROVIDER}
    assert dict(found.broker("other://h").context.options) == {}
    found.check_options("queues://h", "null://")


def test_options_under_the_scheme_of_the_url_are_preferred(two_schemes):
    found = Drivers(DriverContext(), options={"queue": {"for": "queue"}, "queues": {"for": "queues"}})
    assert dict(found.broker("queues://h").context.options) == {"for": "queues"}
    assert dict(found.broker("queue://h").context.options) == {"for": "queue"}
    with pytest.raises(ConfigurationError, match="'queue'"):
        found.check_options("queues://h", "null://")


def test_a_scheme_that_two_distributions_serve_belongs_to_the_chosen_one(two_schemes, site, code):
    site.install("fake-rival", "[drivetrain.brokers]\nqueue=MODULE", code.broker)
    options = {"queue": {"provider": PROVIDER}}
    found = Drivers(DriverContext(), {"queue": "fake-rival"}, options=options)
    assert dict(found.broker("queue://h").context.options) == {"provider": PROVIDER}
    assert dict(found.broker("queues://h").context.options) == {}, "another distribution serves this scheme"


def test_a_name_of_no_driver_in_use_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        App("memory://", "null://", driver_options={"redis": {"password": "hunter2"}, "memory": {}, "sqs": {}})
    assert str(caught.value) == (
        "driver_options names 'redis', 'sqs', but the app uses no such driver; "
        "in use: 'memory' (broker), 'null' (backend)"
    )


def test_the_backend_that_the_broker_s_url_implies_is_in_use():
    App("memory://", driver_options={"memory": {}})


def test_other_drivers_for_a_while_need_no_options():
    app = App("one://h", "one://h", plugins=[Recorder()], driver_options={"one": {"provider": PROVIDER}})
    with app.using("memory://"):
        assert isinstance(app.runtime.broker, Broker)


@pytest.mark.parametrize("wrong", ["hunter2", {"memory": "hunter2"}, {"memory": {5: "hunter2"}}, {5: {}}])
def test_the_wrong_shape_is_refused_without_its_values(wrong):
    with pytest.raises(ConfigurationError, match="pass a dict for each driver") as caught:
        App("memory://", driver_options=wrong)
    assert "hunter2" not in str(caught.value)


def test_a_file_and_a_variable_cannot_hold_them(tmp_path, monkeypatch):
    path = tmp_path / "drivetrain.toml"
    path.write_text('[driver_options.memory]\ntoken = "hunter2"\n')
    monkeypatch.setenv("DRIVETRAIN_DRIVER_OPTIONS", "memory=hunter2")
    with pytest.raises(ConfigurationError) as caught:
        App("memory://", config=path)
    assert str(caught.value).count("'driver_options' is not a setting; pass it in code: App(driver_options=…)") == 2
    assert "hunter2" not in str(caught.value)


def test_a_driver_that_fails_with_an_option_in_its_error_does_not_show_it(caplog):
    class Failing:
        @hookimpl
        def make_broker(self, url, context):
            raise RuntimeError(f"token {context.options['token']} is bad")

    found = Drivers(DriverContext(), plugins=[Failing()], options={"bad": {"token": "hunter2"}})
    with caplog.at_level(logging.DEBUG), pytest.raises(DriverBroken, match=r"token \*\*\* is bad") as caught:
        found.broker("bad://h")
    assert "hunter2" not in str(caught.value) + caplog.text
