"""Core whose limits let too much through, leak, starve or lose: F1 to F8."""

from __future__ import annotations

import threading

from msgspec.structs import replace

from drivetrain.app import unique_sending
from drivetrain.contract import State
from drivetrain.worker import execution
from drivetrain.worker.limits import claims, freeing, gate, line, places, rates, uniqueness
from mutants.workflow_base import breaks_core

# F1 and F2: rates


@breaks_core("F1", "lets each worker have the whole rate")
def each_worker_counts_for_itself(patch):
    patch.setattr(rates, "_paid_at", lambda _stored, _effective, now: now.seconds)


@breaks_core("F1", "overwrites what another worker has drawn")
def overwrites(patch):
    plan = rates.RateDraws._plan

    def blind(self, *args):
        write, drawn = plan(self, *args)
        threading.Event().wait(0.005)  # another worker draws in between
        return replace(write, if_version=None), drawn

    patch.setattr(rates.RateDraws, "_plan", blind)


@breaks_core("F1", "uses half of the rate")
def uses_half(patch):
    reserve = rates.reserve
    patch.setattr(
        rates, "reserve", lambda paid, setting, costs, now: reserve(paid, setting, [2 * c for c in costs], now)
    )


@breaks_core("F1", "starts what must wait at once")
def does_not_wait(patch):
    patch.setattr(gate.LimitGate, "_not_before", lambda *_: None)
    patch.setattr(gate, "_EARLY_SECONDS", 60.0)


@breaks_core("F2", "counts waiting as a retry")
def counts_as_retry(patch):
    patch.setattr(execution.Execution, "_postponed", lambda self, run, error: self._retry(run, error, 0.02))


@breaks_core("F2", "has no deadline for what is postponed")
def no_deadline(patch):
    patch.setattr(execution, "postponed_since", lambda _message: None)


@breaks_core("F2", "loses what waits")
def loses_what_waits(patch):
    patch.setattr(gate.LimitGate, "_delay", lambda *_: None)


# F3 to F6: places


@breaks_core("F3", "takes a place that is not free")
def too_many(patch):
    patch.setattr(places._Line, "full", property(lambda _line: False))


@breaks_core("F3", "counts the places of each worker alone")
def counts_alone(patch):
    write_of = places._write_of
    patch.setattr(places, "_write_of", lambda one: replace(write_of(one), if_version=None))
    patch.setattr(places, "_decoded", lambda place, _stored, time: line.Places(name=place.name, clock=time.clock))


@breaks_core("F4", "frees a place only where all goes well")
def leaks(patch):
    patch.setattr(line, "is_live", lambda *_args, **_more: True)
    patch.setattr(freeing.PlaceReleaser, "release", lambda *_: None)
    patch.setattr(places, "is_live", lambda *_args, **_more: True)


@breaks_core("F4", "frees a place once more for each message that comes twice")
def frees_twice(patch):
    patch.setattr(places.PlaceKeeper, "_drop_dead", _drop_all)


def _drop_all(_self, lines, _here, _now):
    for one in lines:
        one.set(one.places.without({holder.task_id for holder in one.places.holders[:1]}))


@breaks_core("F5", "wakes the task that waits last")
def wakes_the_last(patch):
    decide = places.PlaceKeeper._decide

    def last_first(self, one, lines, now):
        decide(self, one, lines, now)
        if one.parked is not None:
            blocked = lines[one.blocked]
            number = blocked.places.first - 1
            one.parked = one.blocked, number
            blocked.set(replace(blocked.places, first=number, next=blocked.places.next - 1))

    patch.setattr(places.PlaceKeeper, "_decide", last_first)


@breaks_core("F5", "takes places in the order in which the task names them")
def deadlocks(patch):
    from drivetrain.worker.limits.bound import TaskLimits

    patch.setattr(TaskLimits, "places", lambda self, arguments: tuple(one.place(arguments) for one in self.concurrency))


@breaks_core("F6", "drops what is woken into a paused queue")
def drops_in_a_pause(patch):
    follow = freeing.PlaceReleaser.follow

    def forget(self, change):
        change.woken.clear()
        follow(self, change)

    patch.setattr(freeing.PlaceReleaser, "follow", forget)


# F7 and F8: unique keys


@breaks_core("F7", "does not look who holds a key")
def looks_at_nothing(patch):
    write = unique_sending.UniqueClaims._claim_write
    patch.setattr(
        unique_sending.UniqueClaims,
        "_claim_write",
        lambda self, one, now: replace(write(self, one, now), if_version=None),
    )


@breaks_core("F7", "gives a key up at a retry")
def gives_up_at_a_retry(patch):
    over = unique_sending.is_over
    patch.setattr(
        unique_sending,
        "is_over",
        lambda claim, record: over(claim, record) or (record is not None and record.state is State.RETRY),
    )


@breaks_core("F7", "holds the key of a task that has ended")
def holds_for_ever(patch):
    patch.setattr(unique_sending, "is_over", lambda _claim, _record: False)
    patch.setattr(uniqueness.ClaimReleaser, "release", lambda *_: None)


@breaks_core("F8", "runs with the first arguments")
def first_arguments(patch):
    decide = uniqueness.Rescheduler._decide

    def without_arguments(self, run, key, stored, now):
        found = decide(self, run, key, stored, now)
        return found if found.settle is None else uniqueness._Decision(starts=True)

    patch.setattr(uniqueness.Rescheduler, "_decide", without_arguments)


@breaks_core("F8", "runs at the time of the first call")
def first_time(patch):
    patch.setattr(uniqueness, "decode_claim", lambda value, payloads: _due_now(claims.decode_claim(value, payloads)))


def _due_now(claim):
    return None if claim is None else replace(claim, due=None)
