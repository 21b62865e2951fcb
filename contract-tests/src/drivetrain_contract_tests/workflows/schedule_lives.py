"""Clauses T8 to T13: schedules that are declared, removed, paused and triggered, and the workflows of their ticks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from drivetrain import App, chain, current_task, every, group
from drivetrain.contract import NotSupported, State
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import QUEUE, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.timeline import HOUR, Timeline, hours, utc

__all__ = ["ScheduleLifeChecks"]


def _act(label: str = "tick") -> Any:
    return call("act", label=label)


class ScheduleLifeChecks(WorkflowBase):
    """What becomes of schedules and of what they send."""

    @holds("T8")
    def test_a_removed_schedule_does_not_tick(self) -> None:
        """Also for a scheduler that knows it from before; and what gets its id later is another schedule."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(timeline.app())
            schedules.put("gone", _act(), every(hours=1))
            timeline.tick_at(scheduler, 1)
            schedules.pause("gone")
            removed = schedules.remove("gone")
            assert removed.last is not None
            assert [one.id for one in schedules.list()] == []
            timeline.tick_at(scheduler, 2, 3)
            assert timeline.instants() == hours(1), "a removed schedule ticks"
            schedules.put("gone", _act(), every(hours=1))
            timeline.tick_at(scheduler, 4)
            assert timeline.instants() == hours(1, 4), "a schedule does not tick that has the id of an earlier one"

    @holds("T8")
    def test_a_schedule_of_the_same_id_has_ticks_of_its_own(self) -> None:
        """An instant that the earlier one has sent is sent by the later one too: it is another tick."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            for _ in range(2):
                timeline.at(0.5)
                schedules.put("again", _act(), every(hours=1))
                timeline.tick_at(scheduler, 1)
                schedules.remove("again")
            assert len({message.id for message in harness.run_log.messages}) == 2

    @holds("T9")
    def test_what_code_declares_is_stored_and_what_it_does_not_is_orphaned(self) -> None:
        """A schedule of run time is not touched; an orphaned one ticks again when it is declared again."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            old, new = self._declaring(timeline, "kept", "left"), self._declaring(timeline, "kept", "added")
            timeline.schedules(old).put("run time", _act(), every(hours=1))
            timeline.tick_at(timeline.scheduler(old), 0.5, 1)
            assert timeline.instants() == hours(1, 1, 1)
            timeline.tick_at(timeline.scheduler(new), 1.5, 2)
            states = {one.id: one.state for one in timeline.schedules(new).list()}
            assert states == {"added": "active", "kept": "active", "left": "orphaned", "run time": "active"}
            sent = {name: timeline.instants(name) for name in states}
            assert sent == {"added": hours(2), "kept": hours(1, 2), "left": hours(1), "run time": hours(1, 2)}
            timeline.tick_at(timeline.scheduler(old), 2.5, 3)
            assert timeline.instants("left") == hours(1, 3), "a schedule that is declared again does not tick"

    @holds("T9")
    def test_the_highest_revision_counts(self) -> None:
        """A process of the old code that starts late changes nothing."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            new = self._declaring(timeline, "new", schedule_revision=2)
            old = self._declaring(timeline, "old", schedule_revision=1)
            timeline.tick_at(timeline.scheduler(new), 0.5)
            timeline.tick_at(timeline.scheduler(old), 0.6, 1)
            assert {one.id: one.state for one in timeline.schedules(new).list()} == {"new": "active"}
            assert timeline.instants("new") == hours(1)

    def _declaring(self, timeline: Timeline, *names: str, **settings: Any) -> App:
        app = timeline.app(**settings)
        for name in names:
            app.schedule(name, _act(), every(hours=1))
        return app

    @holds("T10")
    def test_overlaps_are_treated_as_the_rule_says(self) -> None:
        """The workflow of the first tick runs while the next two come, and then it ends."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app(concurrency=8)
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            rules: tuple[Any, ...] = ("allow", "skip", "queue_one")
            for rule in rules:
                schedules.put(rule, call("wait", label=rule), every(hours=1), overlap=rule)
            harness.worker(app)
            timeline.tick_at(scheduler, 1)
            for rule in rules:
                assert harness.gates[f"{rule} 0"].reached.wait(self.patience_seconds), f"{rule} has not begun"
            timeline.tick_at(scheduler, 2, 3)
            sent = {rule: timeline.instants(rule) for rule in rules}
            assert sent == {"allow": hours(1, 2, 3), "skip": hours(1), "queue_one": hours(1)}
            assert {one.id: one.skipped for one in schedules.list()} == {"allow": 0, "skip": 2, "queue_one": 1}
            harness.gates.open_all()
            for number in range(3):
                harness.gates[f"allow {number}"].opened.set()
            harness.gates["queue_one 1"].opened.set()
            for rule in ("skip", "queue_one"):
                harness.until(lambda rule=rule: self._ended(timeline, rule), f"the workflow of {rule} ends")  # type: ignore[misc]
            timeline.tick_at(scheduler, 3.01)
            assert timeline.instants("queue_one") == hours(1, 3), "the newest waiting tick is not sent at the end"
            harness.gates["skip 1"].opened.set()
            timeline.tick_at(scheduler, 4)
            assert timeline.instants("skip") == hours(1, 4), "a tick is skipped although the workflow has ended"

    @holds("T10")
    def test_a_workflow_has_ended_in_whatever_way_its_last_task_has(self) -> None:
        """The first task of a chain fails, is cancelled, or is forgotten: the next tick is sent."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            names = ("fails", "cancelled", "forgotten")
            for name in names:
                task = call("fail" if name == "fails" else "act", label=name)
                schedules.put(name, chain(task, call("act", label="second")), every(hours=1), overlap="skip")
            timeline.tick_at(scheduler, 1)
            firsts = {
                tick.schedule: message.id
                for tick, message in zip(timeline.ticks(), harness.run_log.messages, strict=True)
            }
            app.cancel(firsts["cancelled"])
            app.runtime.backend.forget([firsts["forgotten"], *schedules.get("forgotten").running])
            worker = harness.worker(app)
            harness.until(lambda: self._ended(timeline, "fails"), "the chain ends")
            worker.stop()
            # A cache cannot tell a forgotten task from one that it has dropped, and so its message may have run.
            app.runtime.backend.forget([firsts["forgotten"], *schedules.get("forgotten").running])
            timeline.tick_at(scheduler, 2)
            assert {name: timeline.instants(name)[-1:] for name in names} == dict.fromkeys(names, hours(2))

    @holds("T10")
    def test_the_workflow_before_is_cancelled_where_the_rule_says_so(self) -> None:
        """The task of the first tick does not run any more, and that of the second does."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            workflow = chain(call("act", label="first"), call("act", label="second"))
            timeline.schedules(app).put("newest", workflow, every(hours=1), overlap="cancel_previous")
            timeline.tick_at(timeline.scheduler(app), 1, 2)
            assert timeline.instants() == hours(1, 2)
            timeline.run_all(app, lambda: bool(harness.run_log.ran()["second"]))
            assert dict(harness.run_log.ran()) == {"first": 1, "second": 1}, "what was cancelled has run"

    def _ended(self, timeline: Timeline, schedule: str) -> bool:
        """Whether the first workflow of a schedule has ended."""
        (running, *_) = timeline.schedules(timeline.harness.app()).get(schedule).running
        (record,) = timeline.harness.backend.read([running])
        return record is None or record.state.terminal

    @holds("T11")
    def test_a_paused_schedule_goes_on_as_it_is_resumed(self) -> None:
        """From then on, or with the ticks that it missed."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            for name in ("now", "missed"):
                schedules.put(name, _act(), every(hours=1), misfire="all", catch_up=10 * HOUR)
                schedules.pause(name, why="for a while", by="somebody")
            timeline.tick_at(scheduler, 1, 2)
            assert timeline.instants() == [], "a paused schedule ticks"
            paused = schedules.get("now")
            assert (paused.state, paused.paused and paused.paused.why) == ("paused", "for a while")
            timeline.at(2.5)
            assert schedules.resume("now")
            assert schedules.resume("missed", missed=True)
            assert not schedules.resume("now")
            timeline.tick_at(scheduler, 2.6, 3)
            assert timeline.instants("now") == hours(3)
            assert timeline.instants("missed") == hours(1, 2, 3)

    @holds("T11")
    def test_a_trigger_sends_once_and_moves_no_tick(self) -> None:
        """Also while the schedule is paused."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            schedules.put("triggered", _act(), every(hours=1))
            timeline.at(0.5)
            first = schedules.trigger("triggered")
            schedules.pause("triggered")
            second = schedules.trigger("triggered")
            schedules.resume("triggered")
            timeline.tick_at(scheduler, 0.75, 1)
            assert first.id != second.id
            assert timeline.instants() == hours(0.5, 0.5, 1), "a trigger has moved or repeated a tick"

    @holds("T11")
    def test_a_backfill_sends_what_is_missing_once(self) -> None:
        """A tick that was sent is not sent again, unless it has a label; a repeated backfill sends nothing."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            schedules.put("hourly", _act(), every(hours=1), misfire="skip")
            timeline.tick_at(scheduler, 2, 4.5)
            period = utc(2027, 1, 15, 9), utc(2027, 1, 15, 12)
            first = schedules.backfill("hourly", *period)
            assert [one.timestamp() for one in first.sent] == hours(1, 3)
            assert [one.timestamp() for one in first.known] == hours(2)
            assert schedules.backfill("hourly", *period).sent == ()
            assert timeline.instants() == hours(1, 2, 3)
            again = schedules.backfill("hourly", *period, label="again")
            assert [one.timestamp() for one in again.sent] == hours(1, 2, 3)
            assert schedules.backfill("hourly", *period, label="again").sent == ()
            timeline.tick_at(scheduler, 5)
            assert timeline.instants()[-1:] == hours(5), "a backfill has moved the next tick"

    @holds("T12")
    def test_what_operators_do_harms_no_schedule(self) -> None:
        """The queue is purged, and the task of a tick is cancelled, forgotten, or fails."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            schedules.put("hourly", call("fail", label="hourly"), every(hours=1), overlap="skip")
            timeline.tick_at(scheduler, 1)
            with suppress(NotSupported):  # of delayed messages, where a broker does not show them
                app.operations.purge(QUEUE)
            app.cancel(*schedules.get("hourly").running)
            timeline.tick_at(scheduler, 2)
            app.runtime.backend.forget(schedules.get("hourly").running)
            timeline.tick_at(scheduler, 3)
            timeline.run_all(app, lambda: bool(harness.run_log.ran()))
            timeline.tick_at(scheduler, 4)
            assert timeline.instants() == hours(1, 2, 3, 4), "a schedule has stopped"
            assert schedules.get("hourly").state == "active"

    @holds("T13")
    def test_every_task_of_a_workflow_knows_its_tick(self) -> None:
        """Members, callbacks and what follows them too."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            seen: list[tuple[str, Any]] = []

            @app.task(name="ticked")
            def ticked(*args: Any, label: str) -> str:
                harness.run_log.note(label, args)
                seen.append((label, current_task().tick))
                return label

            members = group(*(call("ticked", label=f"member {number}") for number in range(2)))
            workflow = chain(call("ticked", label="first"), members, call("ticked", label="last"))
            timeline.schedules(app).put("all", workflow, every(hours=1))
            timeline.tick_at(timeline.scheduler(app), 1)
            timeline.run_all(app, lambda: bool(harness.run_log.ran()["last"]))
            assert sorted(label for label, _ in seen) == ["first", "last", "member 0", "member 1"]
            ticks = {(tick.schedule, tick.instant.timestamp()) if tick else None for _, tick in seen}
            assert ticks == {("all", hours(1)[0])}, "a task of a workflow does not know its tick"

    @holds("T13")
    def test_a_schedule_whose_task_nobody_knows_pauses(self) -> None:
        """After three ticks, with the reason; meanwhile another one ticks."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app(version_mismatch_seconds=0.0)
            schedules, scheduler = timeline.schedules(app), timeline.scheduler(app)
            schedules.put("unknown", call("nobody", label="unknown"), every(hours=1))
            schedules.put("known", _act(), every(hours=1))
            worker = harness.worker(app)
            for hour in range(1, 5):
                timeline.tick_at(scheduler, hour)
                ran = hour
                harness.until(lambda ran=ran: len(timeline.runs()) >= ran, "the other task runs")  # type: ignore[misc]
                harness.until(lambda: self._all_ended(timeline), "the unknown task ends")
            worker.stop()
            unknown = schedules.get("unknown")
            assert unknown.state == "paused", "a schedule goes on whose task no worker knows"
            assert timeline.instants("unknown") == hours(1, 2, 3)
            assert timeline.instants("known") == hours(1, 2, 3, 4)

    def _all_ended(self, timeline: Timeline) -> bool:
        ids = [message.id for message in timeline.harness.run_log.messages]
        records = timeline.harness.backend.read(ids)
        return all(record is None or record.state in (State.SUCCESS, State.FAILURE) for record in records)

    @holds("T13")
    def test_a_tick_that_cannot_be_sent_keeps_nothing_back(self) -> None:
        """Its schedule says why, and goes on; others of the same instant are sent."""
        with self.harness() as harness:
            timeline = Timeline(harness)
            app = timeline.app()
            schedules = timeline.schedules(app)
            schedules.put("refused", call("act", label="refused", priority=1_000_000), every(hours=1))
            schedules.put("sent", _act(), every(hours=1))
            timeline.tick_at(timeline.scheduler(app), 1, 2)
            assert timeline.instants("sent") == hours(1, 2), "a tick waits for one that cannot be sent"
            refused = schedules.get("refused")
            assert (refused.sent, refused.dropped) == (0, 2)
            assert "priority" in refused.problem
