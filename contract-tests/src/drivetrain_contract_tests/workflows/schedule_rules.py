"""Clauses T5 to T7, T15 and T16: which instants tick, and what becomes of those that nobody sent in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from drivetrain import App, cron, every
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.timeline import HOUR, START, Timeline, hours, utc

__all__ = ["ScheduleRuleChecks"]


def _act(label: str = "tick") -> Any:
    return call("act", label=label)


class ScheduleRuleChecks(WorkflowBase):
    """When schedules tick. All these checks set the time, and count what was published."""

    @holds("T5")
    def test_no_start_of_a_scheduler_sends_or_moves_a_tick(self) -> None:
        """A new scheduler looks each quarter of an hour, and one that was off for a while; intervals are anchored."""
        with self.harness() as harness:
            timeline = Timeline(harness, START + 60.0)
            app = timeline.app()
            timeline.schedules(app).put("hourly", _act(), every(hours=1, phase=600))
            timeline.tick(timeline.scheduler(app))
            assert timeline.instants() == [], "a tick was sent when the schedule was made, or the scheduler started"
            for hour in (0.1, 0.25, 0.5, 1.0, 1.16, 1.17, 1.5, 2.17):
                timeline.tick_at(timeline.scheduler(timeline.app()), hour)
            assert timeline.instants() == [START + 600 + hour * HOUR for hour in (0, 1, 2)]

    @holds("T5")
    def test_a_new_schedule_ticks_first_after_it_was_made(self) -> None:
        """Not for the instants before, however late the scheduler looks."""
        with self.harness() as harness:
            timeline = Timeline(harness, START + 1.0)
            app = timeline.app()
            timeline.schedules(app).put("hourly", _act(), every(hours=1), misfire="all", catch_up=10 * HOUR)
            timeline.tick_at(timeline.scheduler(app), 2.5)
            assert timeline.instants() == hours(1, 2)

    @holds("T6")
    def test_missed_ticks_are_sent_as_the_rule_says(self) -> None:
        """Nobody looks for six hours and a half."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules = timeline.schedules(app)
            schedules.put("latest", _act(), every(hours=1))
            schedules.put("none in time", _act(), every(hours=1), catch_up=HOUR / 4)
            schedules.put("skip", _act(), every(hours=1), misfire="skip")
            schedules.put("all", _act(), every(hours=1), misfire="all", catch_up=3 * HOUR)
            schedules.put("some", _act(), every(hours=1), misfire="all", catch_up=10 * HOUR, catch_up_limit=2)
            timeline.tick_at(timeline.scheduler(app), 6.5)
            wanted = {"latest": hours(6), "none in time": [], "skip": [], "all": hours(4, 5, 6), "some": hours(5, 6)}
            assert {name: timeline.instants(name) for name in wanted} == wanted
            dropped = {one.id: one.dropped for one in schedules.list()}
            assert dropped == {name: 6 - len(sent) for name, sent in wanted.items()}, f"dropped ticks: {dropped}"
            timeline.tick_at(timeline.scheduler(app), 7)
            assert all(timeline.instants(name)[-1:] == hours(7) for name in wanted), "a tick in time was not sent"

    @holds("T6")
    def test_an_outage_of_weeks_floods_nothing(self) -> None:
        """Nor does it take long: a tick each second was missed for two weeks."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules = timeline.schedules(app)
            schedules.put("latest", _act(), cron("* * * * * *"))
            schedules.put("all", _act(), cron("* * * * * *"), misfire="all", catch_up_limit=10)
            timeline.tick_at(timeline.scheduler(app), 14 * 24)
            # Up to fifteen seconds are in time.
            assert len(timeline.instants("latest")) <= 20
            assert len(timeline.instants("all")) <= 30
            assert timeline.instants("latest")[-1:] == hours(14 * 24)

    @holds("T7")
    def test_an_edit_begins_at_the_present(self) -> None:
        """Nothing fires at once, nothing is repeated, and the next tick is the first of the new instants."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            schedules.put("edited", _act(), every(hours=1))
            timeline.tick_at(scheduler, 1)
            timeline.at(2.25)  # the tick of the second hour was not sent
            schedules.put("edited", _act(), every(minutes=30), misfire="all", catch_up=10 * HOUR)
            timeline.tick(scheduler)
            assert timeline.instants() == hours(1), "an edit has fired at once, or repeated a tick"
            timeline.tick_at(scheduler, 2.5, 3)
            assert timeline.instants() == hours(1, 2.5, 3)

    @holds("T7")
    def test_another_workflow_or_rule_moves_no_tick(self) -> None:
        """Only other instants begin at the present."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules = timeline.schedules(app)
            schedules.put("edited", _act(), every(hours=1))
            timeline.at(1.0)
            schedules.put("edited", _act("other"), every(hours=1), note="changed")
            timeline.tick(timeline.scheduler(app))
            assert timeline.instants() == hours(1), "a tick that was due was lost by an edit"

    @holds("T15")
    def test_a_fixed_time_ticks_once_a_day_where_clocks_are_turned(self) -> None:
        """In Paris, 02:30 does not exist on 2026-03-29, and exists twice on 2026-10-25."""
        with self.harness() as harness:
            app = Timeline(harness).app()
            spring = [utc(2026, 3, 28, 1, 30), utc(2026, 3, 29, 1, 0), utc(2026, 3, 30, 0, 30)]
            autumn = [utc(2026, 10, 24, 0, 30), utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)]
            self._check_days(Timeline(harness), app, "30 2 * * *", spring)
            self._check_days(Timeline(harness), app, "30 2 * * *", autumn)

    @holds("T15")
    def test_a_frequency_follows_the_elapsed_time(self) -> None:
        """Each half hour ticks in every half hour, and none of the skipped ones does."""
        with self.harness() as harness:
            app = Timeline(harness).app()
            for day in (utc(2026, 3, 29, 0, 0), utc(2026, 10, 25, 0, 0)):
                wanted = [day + timedelta(minutes=30 * number) for number in range(8)]
                self._check_days(Timeline(harness), app, "*/30 * * * *", wanted)

    def _check_days(self, timeline: Timeline, app: App, expression: str, wanted: list[datetime]) -> None:
        """Look each quarter of an hour from a bit before the first instant to a bit after the last."""
        name = f"{expression} from {wanted[0]}"
        timeline.time = wanted[0].timestamp() - 1.0
        timeline.schedules(app).put(name, _act(), cron(expression, tz="Europe/Paris"))
        scheduler = timeline.scheduler(app)
        while timeline.time < wanted[-1].timestamp() + 1.0:
            timeline.time += HOUR / 4
            timeline.tick(scheduler)
        timeline.schedules(app).remove(name)
        assert [datetime.fromtimestamp(one, wanted[0].tzinfo) for one in timeline.instants(name)] == wanted

    @holds("T16")
    def test_start_end_and_max_runs_are_limits(self) -> None:
        """Also where ticks are sent late."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules = timeline.schedules(app)
            start, end = utc(2027, 1, 15, 10), utc(2027, 1, 15, 12)
            schedules.put("between", _act(), every(hours=1), start=start, end=end)
            schedules.put("twice", _act(), every(hours=1), max_runs=2)
            schedules.put("late", _act(), every(hours=1), max_runs=2, misfire="all", catch_up=10 * HOUR)
            timeline.at(6.0)
            app_late = timeline.scheduler(app)
            timeline.at(0.0)
            timeline.tick_at(app_late, *range(1, 7))
            assert timeline.instants("between") == hours(2, 3, 4)
            assert timeline.instants("twice") == hours(1, 2)
            assert timeline.instants("late") == hours(1, 2)
            states = {one.id: one.state for one in schedules.list()}
            assert states == {"between": "finished", "twice": "finished", "late": "finished"}

    @holds("T16")
    def test_jitter_is_the_same_for_all_schedulers(self) -> None:
        """Each schedule has its own delay, at most that long; the instant of its ticks stays as planned."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            apps = [timeline.app(), timeline.app()]
            names = [f"s{number}" for number in range(8)]
            for name in names:
                timeline.schedules(apps[0]).put(name, _act(), every(hours=1), jitter=HOUR / 2)
            first = self._delays(timeline, apps[0], names, hour=1)
            second = self._delays(timeline, apps[1], names, hour=2)
            assert first == second, "two schedulers delay the ticks of a schedule by different times"
            assert len(set(first.values())) > 1, "all schedules tick at the same time"
            assert timeline.instants() == sorted(hours(1, 2) * len(names))

    def _delays(self, timeline: Timeline, app: App, names: list[str], *, hour: int) -> dict[str, int]:
        """After how many steps of a minute each schedule has sent its tick."""
        scheduler = timeline.scheduler(app)
        found: dict[str, int] = {}
        for minute in range(31):
            timeline.tick_at(scheduler, hour + minute / 60)
            for name in names:
                if len(timeline.instants(name)) == hour:
                    found.setdefault(name, minute)
        return found
