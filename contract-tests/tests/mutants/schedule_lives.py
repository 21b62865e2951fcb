"""Schedulers that break T8 to T13: removed and orphaned schedules tick, overlaps are ignored, operators do harm."""

from __future__ import annotations

import secrets

from drivetrain.app import schedules
from drivetrain.contract import InvalidSignature, State, evolve
from drivetrain.worker.pauses import Pause
from drivetrain.worker.schedules import sending, syncing, ticker
from drivetrain.worker.schedules.entries import paused
from drivetrain.worker.schedules.outcomes import all_ids
from drivetrain.worker.schedules.store import ScheduleState, ScheduleStore, change
from drivetrain.worker.schedules.tick import TickKind
from drivetrain.worker.schedules.ticker import Ticker
from mutants.workflow_base import breaks_core


@breaks_core("T8", "ticks what was removed, since it remembers it")
def remembers_what_was_removed(patch):
    shard = ScheduleStore._shard

    def remembered(self, number, value):
        known = self._shards.get(number)
        return known if known is not None and known.entries else shard(self, number, value)

    patch.setattr(ScheduleStore, "_shard", remembered)


@breaks_core("T8", "gives a schedule the ticks of the earlier one with its id")
def keeps_the_incarnation(patch):
    patch.setattr(schedules, "new_id", lambda: "always the same")


@breaks_core("T9", "ticks what is declared no more")
def ticks_orphans(patch):
    patch.setattr(syncing, "orphaned", lambda entry: evolve(entry, orphaned=False))


@breaks_core("T9", "lets the last start count, whatever its revision")
def forgets_revisions(patch):
    patch.setattr(ScheduleState, "set_revision", lambda self, revision: None)


@breaks_core("T10", "never sees the end of a workflow")
def never_sees_the_end(patch):
    patch.setattr(ticker, "judged", lambda entry, *_, **__: entry)


@breaks_core("T10", "sends whatever runs")
def sends_whatever_runs(patch):
    overlap = ticker.apply_overlap
    patch.setattr(ticker, "apply_overlap", lambda _rule, ticks, **more: overlap("allow", ticks, **more))


@breaks_core("T10", "sends the new tick and does not cancel the workflow before")
def does_not_cancel(patch):
    patch.setattr(ticker, "all_ids", lambda entry, sent: [])


@breaks_core("T11", "moves the next tick by a trigger")
def moves_by_a_trigger(patch):
    trigger = schedules.Schedules.trigger

    def moved(self, schedule_id):
        result = trigger(self, schedule_id)
        later = self._now() + 3600

        def put(state, _):
            state.put(evolve(state.get(schedule_id), cursor=later))

        change(self._store(), self._services.runtime.clock, range(32), put)
        return result

    patch.setattr(schedules.Schedules, "trigger", moved)


@breaks_core("T11", "backfills with new ids")
def backfills_with_new_ids(patch):
    out = sending.outgoing

    def new(entry, workflow, instant, kind, label=""):
        return out(entry, workflow, instant, kind, secrets.token_hex(4) if kind is TickKind.BACKFILLED else label)

    patch.setattr(schedules, "outgoing", new)


@breaks_core("T11", "sends the ticks of a pause, asked or not")
def sends_the_ticks_of_a_pause(patch):
    resume = schedules.resumed
    patch.setattr(schedules, "resumed", lambda entry, *, now, missed: resume(entry, now=now, missed=True))


@breaks_core("T12", "stops when the task of a tick was cancelled")
def stops_when_cancelled(patch):
    judge = ticker.judged

    def stopping(entry, definition, records, **more):
        ids = [task_id for sent in entry.unfinished for task_id in all_ids(entry, sent)]
        if any(task_id in records and records[task_id].state is State.CANCELLED for task_id in ids):
            return paused(entry, Pause(since=0.0, why="cancelled"))
        return judge(entry, definition, records, **more)

    patch.setattr(ticker, "judged", stopping)


@breaks_core("T13", "tells the tick to the first task only")
def tells_the_first_only(patch):
    rename = sending.rename_frames

    def renamed(frames, new_id, headers):
        return (*rename(frames[:1], new_id, headers), *rename(frames[1:], new_id, {}))

    patch.setattr(sending, "rename_frames", renamed)


@breaks_core("T13", "goes on although no worker knows the task")
def goes_on(patch):
    patch.setattr(Ticker, "_is_unknown", lambda self, record: False)


@breaks_core("T13", "drops all ticks of a batch in which one cannot be sent")
def drops_the_batch(patch):
    def batch(self, ticks):
        try:
            self._sender.send_frames([one.frames for one in ticks], self._fence)
        except InvalidSignature as error:
            return {one.first_id: str(error) for one in ticks}
        return {}

    patch.setattr(Ticker, "_send_batch", batch)
