"""Plugins are made for one app, with its options; hooks for batches and interruptions reach them."""

from datetime import UTC, datetime

import pytest

from drivetrain import App, TaskFailed, chord
from drivetrain.contract import ConfigurationError, DriverBroken, PluginContext, PublishFailed, State, hookimpl
from drivetrain.contract import hookspecs as specs

MAKER = """
from drivetrain.contract import ConfigurationError, hookimpl

class Plugin:
    def __init__(self, context):
        self.context = context
        self.ended = []
    @hookimpl
    def tasks_ended(self, events):
        self.ended += events

@hookimpl
def make_plugin(context):
    if "colour" in context.options:
        raise ConfigurationError("the option colour is unknown")
    return Plugin(context)
"""


def one(app):
    [plugin] = app.plugins.values()
    return plugin


class Recording:
    """Collects the calls of the hooks that it is made for."""

    def __init__(self, *hooks):
        self.calls = []
        for hook in hooks:
            names = [name for name in specs_of(hook) if name != "self"]
            scope = {"calls": self.calls}
            pairs = ", ".join(f"{name!r}: {name}" for name in names)
            exec(f"def {hook}({', '.join(names)}): calls.append(({hook!r}, {{{pairs}}}))", scope)
            setattr(self, hook, hookimpl(scope[hook]))

    def named(self, hook):
        return [arguments for name, arguments in self.calls if name == hook]


def specs_of(hook):
    function = getattr(specs.ObserverHooks, hook)
    return function.__code__.co_varnames[: function.__code__.co_argcount]


@pytest.fixture
def installed(site):
    return site.install("fake-metrics", "[drivetrain.plugins]\nmetrics=MODULE", MAKER)


class TestMaking:
    def test_each_app_has_its_own(self, installed):
        apps = [App("memory://", name=name, plugins=["metrics"]) for name in ("a", "b")]
        assert one(apps[0]) is not one(apps[1])
        assert [one(app).context.app for app in apps] == ["a", "b"]

    def test_it_gets_urls_without_secrets_and_its_options(self, installed):
        app = App(
            "memory://me:secret@here?namespace=x",
            "null://",
            plugins=["metrics"],
            plugin_options={"metrics": {"port": 1}},
        )
        context = one(app).context
        assert (context.broker, context.backend) == ("memory://***@here?namespace=…", "null://")
        assert context.options == {"port": 1}
        assert "port" not in repr(context)

    def test_options_come_from_a_variable_or_a_file_too(self, installed, monkeypatch, tmp_path):
        monkeypatch.setenv("DRIVETRAIN_PLUGINS", "metrics")
        monkeypatch.setenv("DRIVETRAIN_PLUGIN_OPTIONS", '{"metrics": {"port": 2}}')
        assert one(App("memory://")).context.options == {"port": 2}
        monkeypatch.delenv("DRIVETRAIN_PLUGIN_OPTIONS")
        (tmp_path / "app.toml").write_text("[plugin_options.metrics]\nport = 3\n")
        assert one(App("memory://", config=tmp_path / "app.toml")).context.options == {"port": 3}

    def test_it_is_made_again_for_other_drivers(self, installed):
        app = App("sqlite:///work.db", plugins=["metrics"])
        before = one(app)
        with app.using("memory://"):
            assert one(app).context.broker == "memory://"
        assert one(app) is before

    def test_an_object_may_make_it_too(self):
        class Maker:
            @hookimpl
            def make_plugin(self, context):
                return Recording("tasks_ended")

        assert isinstance(one(App("memory://", plugins=[Maker()])), Recording)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"metrics": {"colour": "red"}}, "the option colour is unknown"),
            ({"metricks": {}}, "plugin_options names 'metricks'.*did you mean 'metrics'"),
            ({"metrics": 1}, r"plugin_options\['metrics'\] is 1; it must be a table of options"),
        ],
    )
    def test_wrong_options_are_refused(self, installed, options, reason):
        with pytest.raises(ConfigurationError, match=reason):
            App("memory://", plugins=["metrics"], plugin_options=options)

    def test_options_for_a_plugin_that_takes_none_are_refused(self, site):
        site.install("fake-plain", "[drivetrain.plugins]\nplain=MODULE", "")
        with pytest.raises(ConfigurationError, match="options for the plugin 'plain' of fake-plain.*takes none"):
            App("memory://", plugins=["plain"], plugin_options={"plain": {"port": 1}})

    def test_a_maker_that_fails_is_named(self):
        class Maker:
            @hookimpl
            def make_plugin(self, context: PluginContext):
                raise RuntimeError("dear me")

        with pytest.raises(DriverBroken, match="Maker failed in its hook make_plugin: RuntimeError: dear me"):
            App("memory://", plugins=[Maker()])


class TestAdding:
    def test_added_plugins_follow_those_of_the_app(self, installed):
        first = Recording("tasks_ended")
        app = App("memory://", plugins=[first])

        @app.task
        def double(x: int) -> int:
            return 2 * x

        app.add_plugins("metrics")
        app.add_plugins()
        with app:
            handle = double.send(2)
            app.worker().drain()
            assert handle.get(timeout=0) == 4
        assert [event.task_id for call in first.named("tasks_ended") for event in call["events"]] == [handle.id]
        assert [event.task_id for event in list(app.plugins.values())[1].ended] == [handle.id]

    def test_one_that_cannot_be_used_changes_nothing(self, installed):
        app = App("memory://", plugins=["metrics"])
        with pytest.raises(ConfigurationError, match="metricks"):
            app.add_plugins("metricks")
        assert len(app.plugins) == 1


class TestBatches:
    def test_each_batch_is_one_call(self):
        seen = Recording("messages_received", "messages_settled", "tasks_ended", "after_publish")
        app = App("memory://", plugins=[seen])

        @app.task
        def double(x: int) -> int:
            return 2 * x

        with app:
            handles = app.send_many([double.s(x) for x in range(5)])
            app.worker(concurrency=8).drain()
        ids = [handle.id for handle in handles]
        assert [[message.id for message in call["messages"]] for call in seen.named("messages_received")] == [ids]
        [settled] = seen.named("messages_settled")
        assert ([message.id for message in settled["messages"]], settled["settlement"]) == (ids, "acknowledge")
        [ended] = seen.named("tasks_ended")
        assert [event.task_id for event in ended["events"]] == ids
        assert {event.state for event in ended["events"]} == {State.SUCCESS}
        assert all(call["seconds"] >= 0 for name, call in seen.calls if name != "tasks_ended")
        assert all(event.published_at <= event.started_at <= event.ended_at for event in ended["events"])

    def test_they_cannot_change_headers(self):
        seen = Recording("messages_received", "messages_settled")
        app = App("memory://", plugins=[seen])

        @app.task
        def nothing() -> None: ...

        with app:
            nothing.s().set(headers={"x": "1"}).send()
            app.worker().drain()
        for _, call in seen.calls:
            with pytest.raises(TypeError):
                call["messages"][0].headers["x"] = "2"

    def test_all_kinds_of_ends_are_in_it(self):
        seen = Recording("tasks_ended", "messages_settled")
        app = App("memory://", plugins=[seen])

        @app.task(dead_letter=True)
        def fail() -> None:
            raise ValueError

        @app.task
        def nothing() -> None: ...

        with app:
            failing = fail.send()
            late = nothing.s().set(expires=datetime(2020, 1, 1, tzinfo=UTC)).send()
            app.worker().drain()
            with pytest.raises(TaskFailed):
                failing.get(timeout=0)
        states = {event.task_id: event.state for call in seen.named("tasks_ended") for event in call["events"]}
        assert states == {failing.id: State.FAILURE, late.id: State.EXPIRED}
        assert {call["settlement"] for call in seen.named("messages_settled")} == {"acknowledge", "dead_letter"}

    def test_a_workflow_is_named_in_its_events(self):
        seen = Recording("tasks_ended")
        app = App("memory://", plugins=[seen])

        @app.task
        def double(x: int) -> int:
            return 2 * x

        @app.task
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        with app:
            app.send(chord([double.s(1), double.s(2)], total.s()))
            app.worker().drain()
        events = [event for call in seen.named("tasks_ended") for event in call["events"]]
        assert len(events) == 3
        assert len({event.workflow for event in events} - {""}) == 1


def test_messages_that_are_not_published_are_reported():
    seen = Recording("before_publish", "after_publish", "publish_failed")
    app = App("memory://", plugins=[seen])

    @app.task
    def nothing() -> None: ...

    def refuse(messages):
        raise PublishFailed({message.id: ValueError("no") for message in messages})

    with app:
        broker = app.runtime.broker
        broker.publish = refuse
        broker.record_and_publish = refuse
        with pytest.raises(PublishFailed) as caught:
            nothing.send()
    [failed] = seen.named("publish_failed")
    assert failed["error"] is caught.value
    assert [name for name, _ in seen.calls] == ["before_publish", "publish_failed"]
