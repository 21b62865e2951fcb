"""Schedules of an app: declared in code and in settings, wrong ones refused, and a year of virtual time."""

from datetime import UTC, datetime, timedelta

import pytest

from drivetrain import (
    App,
    ConfigurationError,
    InvalidArguments,
    InvalidSignature,
    NotSupported,
    ScheduleSpec,
    Tick,
    TickKind,
    UnknownSchedule,
    at,
    chain,
    cron,
    current_task,
    every,
    group,
    hookimpl,
)
from drivetrain.contract import State
from drivetrain.testing import VirtualTime

START = datetime(2026, 1, 1, tzinfo=UTC)
NIGHTLY = cron("30 2 * * *", tz="Europe/Paris")


def make_app(**settings):
    app = App("memory://", **settings)
    app.ran = []

    @app.task(name="note")
    def note(text: str = "") -> str:
        app.ran.append((text, current_task().tick))
        return text

    app.note = note
    return app


def ticks(app):
    return [(text, tick.instant) for text, tick in app.ran]


@pytest.mark.usefixtures("at_length")
def test_a_year_of_hours_in_virtual_time():
    tick_for_days(365)


def test_a_month_of_hours_in_virtual_time():
    tick_for_days(31)


def tick_for_days(days):
    """The history of the tasks is that of real time: sent, received, started and ended at the instant of the tick."""
    app = make_app()
    app.schedule("hourly", app.note.si("h"), cron("0 * * * *", tz="Europe/Paris"))
    with VirtualTime(app, start=START) as time:
        time.run_for(days=days)
        assert ticks(app) == [("h", START + timedelta(hours=hour)) for hour in range(1, 24 * days + 1)]
        schedule = app.schedules.get("hourly")
        assert (schedule.sent, schedule.dropped, schedule.state) == (24 * days, 0, "active")
        (record,) = app.runtime.backend.read([schedule.running[-1]])
        changes = {state: datetime.fromtimestamp(change.at, UTC) for state, change in record.history.items()}
        states = (State.PENDING, State.RECEIVED, State.STARTED, State.SUCCESS)
        assert changes == dict.fromkeys(states, START + timedelta(days=days))


def test_schedules_that_tasks_put_tick_too():
    app = make_app()

    @app.task(name="plan")
    def plan() -> None:
        app.schedules.put("planned", app.note.si("p"), every(hours=6), max_runs=2)

    app.schedule("first", plan.si(), at([START + timedelta(hours=1)]))
    with VirtualTime(app, start=START) as time:
        time.run_for(days=2)
        assert ticks(app) == [("p", START + timedelta(hours=hour)) for hour in (6, 12)]
        assert {one.id: one.state for one in app.schedules.list()} == {"first": "finished", "planned": "finished"}


def test_a_task_without_a_schedule_has_no_tick():
    app = make_app()
    with VirtualTime(app, start=START) as time:
        app.note.send("x")
        time.run_ready()
        assert app.ran == [("x", None)]
        app.schedules.put("s", app.note.si("t"), NIGHTLY)
        app.schedules.trigger("s")
        time.run_ready()
        assert app.ran[1] == ("t", Tick("s", START, TickKind.TRIGGERED))


def test_settings_declare_schedules(tmp_path):
    toml = tmp_path / "app.toml"
    toml.write_text(
        '[schedule.nightly]\ntask = "note"\nargs = ["n"]\ncron = "30 2 * * *"\ntz = "Europe/Paris"\noverlap = "skip"\n'
        '[schedule.often]\ntask = "note"\nkwargs = {text = "o"}\nevery = {hours = 12}\nphase = 60\n'
        '[schedule.once]\ntask = "note"\nat = [2026-01-01T05:00:00Z]\npriority = 0\n',
        encoding="utf-8",
    )
    yaml = tmp_path / "app.yaml"
    yaml.write_text(
        "schedule:\n"
        "  nightly: {task: note, args: [n], cron: 30 2 * * *, tz: Europe/Paris, overlap: skip}\n"
        "  often: {task: note, kwargs: {text: o}, every: {hours: 12}, phase: 60}\n"
        "  once: {task: note, at: ['2026-01-01T05:00:00Z'], priority: 0}\n",
        encoding="utf-8",
    )
    for file in (toml, yaml):
        app = make_app(config=file)
        with VirtualTime(app, start=START) as time:
            time.run_for(days=1)
        hours = [(one, (instant - START) / timedelta(hours=1)) for one, instant in ticks(app)]
        assert hours == [("o", 1 / 60), ("n", 1.5), ("", 5.0), ("o", 12 + 1 / 60)]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"cron": "* * * * *"}, "task is missing"),
        ({"task": "note"}, "it needs exactly one of cron, every, at, timetable; it has none"),
        ({"task": "note", "cron": "* * * * *", "every": 5}, "it has cron, every"),
        ({"task": "note", "corn": "* * * * *"}, "there is no key 'corn'; did you mean 'cron'?"),
        ({"task": "note", "every": 60, "tz": "UTC"}, "tz does not belong to every"),
        ({"task": "note", "every": {"fortnights": 1}}, "every has 'fortnights'"),
        ({"task": "note", "every": "hour"}, "every is 'hour'; it must be seconds, or a table"),
        ({"task": "note", "at": ["2026-01-01"]}, "it needs a zone"),
        ({"task": "note", "every": 60, "start": "soon"}, "start is 'soon'"),
        ({"task": "note", "cron": "61 * * * *"}, "'61 * * * *' is wrong: Bad minute"),
        ({"task": "note", "every": 60, "overlap": "never"}, "overlap is 'never'; use one of allow, skip"),
        ({"task": "note", "every": 60, "args": "x"}, "args must be a list"),
        ("nightly", "it must be a table"),
    ],
)
def test_wrong_settings_are_refused_when_the_app_is_made(table, says):
    with pytest.raises(ConfigurationError) as raised:
        App("memory://", schedule={"nightly": table})
    assert says in str(raised.value)
    assert "nightly" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"overlap": "nope"}, "overlap is 'nope'"),
        ({"misfire": "nope"}, "misfire is 'nope'; use one of skip, latest, all"),
        ({"catch_up": -1}, "catch_up is -1; it must be seconds or a timedelta, 0 or more"),
        ({"catch_up": timedelta(days=2)}, "set redelivery_window_seconds to as much"),
        ({"jitter": "1m"}, "jitter is '1m'"),
        ({"start": datetime(2026, 1, 1)}, "it must be a datetime with a time zone"),  # noqa: DTZ001
        ({"max_runs": 0}, "max_runs is 0"),
        ({"catch_up_limit": 10**6}, "and at most 10000"),
        ({"pause_on_failure": 1}, "pause_on_failure is 1"),
        ({"note": 1}, "note is 1"),
        ({"every": 5}, "unknown option(s) every"),
    ],
)
def test_wrong_options_are_refused_when_they_are_declared(options, says):
    app = make_app()
    with pytest.raises(ConfigurationError) as raised:
        app.schedule("s", app.note.si("x"), NIGHTLY, **options)
    assert says in str(raised.value)


def test_wrong_declarations_are_refused():
    app = make_app()
    for schedule_id in ("", " x", "a\nb", "x" * 201):
        with pytest.raises(ConfigurationError, match="its id must have"):
            app.schedule(schedule_id, app.note.si("x"), NIGHTLY)
    with pytest.raises(ConfigurationError, match=r"write task\.si\(…\), not task"):
        app.schedule("s", app.note, NIGHTLY)
    with pytest.raises(ConfigurationError, match="its time is '5m'"):
        app.schedule("s", app.note.si("x"), "5m")
    app.schedule("s", app.note.si("x"), NIGHTLY)
    with pytest.raises(ConfigurationError, match="declared twice"):
        app.schedule("s", app.note.si("x"), NIGHTLY)


def test_a_wrong_workflow_is_refused_when_the_worker_is_made():
    fixed = {"eta": START}
    for workflow, error in (
        (lambda app: app.note.si("x").set(task_id="mine"), InvalidSignature),
        (lambda app: group(app.note.si("x")).set(group_id="ours"), InvalidSignature),
        (lambda app: chain(app.note.si("x"), app.note.si("y").set(**fixed)), InvalidSignature),
        (lambda app: app.signature("note", 5), InvalidArguments),
    ):
        app = make_app()
        app.schedule("s", workflow(app), NIGHTLY)
        with pytest.raises(error):
            app.worker()


def test_a_short_redelivery_window_is_refused():
    app = make_app(redelivery_window_seconds=10.0)
    with pytest.raises(ConfigurationError, match="schedules need 60 or more"):
        app.schedule("s", app.note.si("x"), NIGHTLY)


def test_what_code_declares_is_not_changed_at_run_time():
    app = make_app()
    app.schedule("s", app.note.si("x"), NIGHTLY)
    app.scheduler().tick()
    with pytest.raises(ConfigurationError, match="change it there"):
        app.schedules.put("s", app.note.si("y"), NIGHTLY)
    with pytest.raises(ConfigurationError, match="remove it there, or pause it here"):
        app.schedules.remove("s")
    app.schedules.pause("s", why="w", by="b")
    app.scheduler().tick()
    assert app.schedules.get("s").paused.why == "w", "another start of a scheduler has resumed it"


def test_an_unknown_schedule_is_an_error_of_its_own():
    app = make_app()
    for act in (
        app.schedules.get,
        app.schedules.remove,
        app.schedules.pause,
        app.schedules.resume,
        app.schedules.trigger,
    ):
        with pytest.raises(UnknownSchedule) as raised:
            act("nobody")
        assert raised.value.schedule_id == "nobody"


@pytest.mark.parametrize(
    ("begin", "end", "says"),
    [
        (START, START, "it must end later"),
        (START, datetime(2100, 1, 1, tzinfo=UTC), "in the future"),
        (datetime(2026, 1, 1), START + timedelta(days=1), "with a time zone"),  # noqa: DTZ001
        (START - timedelta(days=4000), START, "has more than 1000 ticks"),
    ],
)
def test_a_wrong_period_is_not_backfilled(begin, end, says):
    app = make_app()
    app.schedules.put("s", app.note.si("x"), NIGHTLY)
    with pytest.raises(ConfigurationError, match=says):
        app.schedules.backfill("s", begin, end)


def test_without_a_store_there_are_no_schedules():
    app = App("memory://", "null://")
    with pytest.raises(NotSupported):
        app.scheduler()
    with pytest.raises(NotSupported):
        app.schedules.list()
    app.worker()  # which ticks nothing


class Moons:
    """A plugin with a timetable: a tick each 29 days after the first of the year 2000."""

    @hookimpl
    def make_timetable(self, kind, parameters):
        return self if kind == "moon" else None

    def after(self, instant):
        month, begin = timedelta(days=29), datetime(2000, 1, 1, tzinfo=UTC)
        return begin + ((instant - begin) // month + 1) * month


def test_a_plugin_brings_a_timetable():
    app = make_app(plugins=[Moons()])
    app.schedule("moon", app.note.si("m"), ScheduleSpec("moon"))
    with VirtualTime(app, start=START) as time:
        time.run_for(days=60)
        assert [text for text, _ in ticks(app)] == ["m", "m"]
    with pytest.raises(ConfigurationError, match="'moon'"):
        make_app().schedule("moon", app.note.si("m"), ScheduleSpec("moon"))


def test_a_scheduler_without_the_timetable_leaves_it_to_others(tmp_path, caplog):
    """It says so once, and ticks all others."""
    url, now = f"sqlite:///{tmp_path}/s.db", [START.timestamp()]
    able, unable = (App(url, plugins=plugins) for plugins in ([Moons()], []))
    for app in (able, unable):
        app.task(name="note")(lambda: None)
    with able, unable:
        for schedule, when in (("moon", ScheduleSpec("moon")), ("other", every(days=1))):
            able.schedules.put(schedule, able.signature("note"), when)
        now = [max(one.next[0] for one in able.schedules.list()).timestamp()]
        poor, rich = (app.scheduler(now=lambda: now[0]) for app in (unable, able))
        poor.tick()
        poor.tick()
        assert {one.id: one.sent for one in able.schedules.list()} == {"moon": 0, "other": 1}
        assert {one.id: one.state for one in unable.schedules.list()} == {"moon": "unreadable", "other": "active"}
        assert caplog.text.count("this process cannot tick the schedule moon") == 1
        rich.tick()
        assert able.schedules.get("moon").sent == 1


def test_many_schedules_are_put_in_one_step():
    app = make_app()
    app.schedules.put_many([(f"s{number}", app.note.si("x"), every(hours=1), {}) for number in range(300)])
    assert [one.id for one in app.schedules.list(next=0)] == sorted(f"s{number}" for number in range(300))
    assert {one.state for one in app.schedules.list()} == {"active"}
