"""Schedulers that break T5 to T7, T15 and T16: they tick at other instants, or too many of them."""

from __future__ import annotations

import random
from datetime import UTC, timedelta

from drivetrain.app import schedules, shown_schedules
from drivetrain.contract import evolve
from drivetrain.drivers.timetables import Every, kinds
from drivetrain.drivers.timetables.wall_clock import elapsed_after
from drivetrain.worker.schedules import entries, ticker
from mutants.workflow_base import breaks_core


@breaks_core("T5", "ticks when a schedule is made or its process starts")
def ticks_at_the_start(patch):
    new = schedules.new_entry
    patch.setattr(schedules, "new_entry", lambda definition, *, now, **more: new(definition, now=now - 3600, **more))


@breaks_core("T5", "counts intervals from the start of its process")
def counts_from_its_start(patch):
    begins = {}

    def after(self, instant):
        begin = begins.setdefault(id(self), (self, instant))[1]
        period = timedelta(seconds=self.seconds)
        return begin + ((instant - begin) // period + 1) * period

    patch.setattr(Every, "after", after)


@breaks_core("T5", "begins in 1970")
def begins_in_1970(patch):
    new = schedules.new_entry
    patch.setattr(schedules, "new_entry", lambda definition, **more: evolve(new(definition, **more), cursor=0.0))


def changed(**changes):
    due = ticker.due_ticks
    return lambda instants, **more: due(instants, **{**more, **changes})


@breaks_core("T6", "catches up without bound")
def catches_up_without_bound(patch):
    patch.setattr(ticker, "due_ticks", changed(misfire="all", catch_up=20 * 3600.0, catch_up_limit=10_000))


@breaks_core("T6", "drops all that is late")
def drops_all(patch):
    patch.setattr(ticker, "due_ticks", changed(misfire="skip"))


@breaks_core("T6", "drops ticks and does not count them")
def does_not_count(patch):
    due = ticker.due_ticks
    patch.setattr(ticker, "due_ticks", lambda instants, **more: evolve(due(instants, **more), dropped=0))


@breaks_core("T7", "fires at once after an edit")
def fires_after_an_edit(patch):
    edit = schedules.edited
    patch.setattr(
        schedules,
        "edited",
        lambda entry, definition, **more: evolve(edit(entry, definition, **more), cursor=entry.cursor),
    )


@breaks_core("T7", "loses a due tick by any edit")
def loses_by_an_edit(patch):
    edit = schedules.edited
    patch.setattr(
        schedules,
        "edited",
        lambda entry, definition, *, now, **more: evolve(edit(entry, definition, now=now, **more), cursor=now),
    )


@breaks_core("T15", "ticks twice where clocks are turned back, and never where they are turned forward")
def ticks_twice(patch):
    patch.setattr(kinds, "fixed_after", elapsed_after)


@breaks_core("T15", "has a cursor in local time")
def has_a_local_cursor(patch):
    def after(instant, zone, next_match):
        match = next_match(instant.astimezone(zone).replace(tzinfo=None))
        return None if match is None else match.replace(tzinfo=zone).astimezone(UTC)

    patch.setattr(kinds, "fixed_after", after)
    patch.setattr(kinds, "elapsed_after", after)


@breaks_core("T16", "delays ticks by chance")
def delays_by_chance(patch):
    for module in (ticker, entries):
        patch.setattr(module, "jitter_seconds", lambda _id, longest: random.uniform(0, longest))


@breaks_core("T16", "sends more than max_runs")
def sends_more(patch):
    for module in (ticker, entries, shown_schedules):
        patch.setattr(module, "remaining_runs", lambda entry, definition: None)
