"""Schedulers that break T1 to T4 and T14: they lose ticks, repeat them, or send them early."""

from __future__ import annotations

import secrets

from drivetrain.contract import SystemClock, ValueWrite
from drivetrain.drivers.memory import MemoryBackend
from drivetrain.worker.receiving import filtering
from drivetrain.worker.schedules import sending, ticker
from drivetrain.worker.schedules.store import ScheduleStore
from drivetrain.worker.schedules.store_clock import StoreClock
from drivetrain.worker.schedules.ticker import Ticker
from drivetrain.worker.value_lock import ValueLock
from mutants.mutant import Mutant
from mutants.workflow_base import FOUND, breaks_core, contract_of, pair
from mutants.workflows import restartable


class Free(ValueLock):
    """A lock that everybody holds."""

    def acquire(self):
        return True

    def renew(self):
        return True


@breaks_core("T1", "ticks without the lock, and without a cursor that others move")
def ticks_without_the_lock(patch):
    patch.setattr(ScheduleStore, "lock", lambda self: Free(lambda: None, "", seconds=1.0))
    patch.setattr(Free, "release", lambda self: True)


@breaks_core("T1", "does not move the cursor")
def does_not_move_the_cursor(patch):
    advance = Ticker._advance

    def stay(self, work, refused, now):
        before = work.entry
        advance(self, work, refused, now)
        work.entry = before

    patch.setattr(Ticker, "_advance", stay)


@breaks_core("T2", "moves the cursor before it sends")
def moves_the_cursor_first(patch):
    waiting, send, write = [], Ticker._send, ScheduleStore.write

    def keep(self, ticks, records):
        waiting.append((self, ticks, records))
        return {}

    def write_then_send(self, state):
        write(self, state)
        while waiting:
            one, ticks, records = waiting.pop()
            send(one, ticks, records)

    patch.setattr(Ticker, "_send", keep)
    patch.setattr(ScheduleStore, "write", write_then_send)


@breaks_core("T2", "makes new ids each time that it sends a tick")
def makes_new_ids(patch):
    ids = sending.tick_ids
    patch.setattr(sending, "tick_ids", lambda incarnation, *more: ids(secrets.token_hex(8), *more))


@breaks_core("T2", "gives up a tick whose sending has failed")
def gives_up(patch):
    batch = Ticker._send_batch

    def once(self, ticks):
        try:
            return batch(self, ticks)
        except Exception as error:
            return {one.first_id: str(error) for one in ticks}

    patch.setattr(Ticker, "_send_batch", once)


@breaks_core("T3", "has a lock without fencing")
def has_no_fence(patch):
    patch.setattr(Ticker, "_fence", lambda self: None)


@breaks_core("T3", "runs a tick whose record has expired")
def runs_what_has_no_record(patch):
    patch.setattr(filtering, "_keeps_records", lambda runtime: False)


@breaks_core("T3", "knows by records alone what was sent")
def knows_by_records(patch):
    due = ticker.due_ticks
    patch.setattr(ticker, "due_ticks", lambda instants, *, cursor, **more: due(instants, cursor=cursor - 3600, **more))
    patch.setattr(ticker, "next_due", lambda *_, now: now + 60)


class OwnClock(MemoryBackend):
    """As a server does, it has a clock of its own."""

    def __init__(self, name, _clock):
        super().__init__(name, SystemClock())


def uses_its_own_clock(patch):
    patch.setattr(StoreClock, "now", lambda self: self._clock.now())


FOUND.append(
    Mutant(
        name="ticks by the clock of its machine",
        clause="T4",
        contract=contract_of("T4"),
        service=lambda: pair(backend=OwnClock),
        core=uses_its_own_clock,
    )
)


def lose_values(_brokers, backends):
    backend = backends[-1]
    keys = [key for key, _ in backend.list_values("schedules/", limit=1000).values]
    backend.write_values([ValueWrite(key=key, value=None) for key in keys])


def lose_cursors(_brokers, backends):
    backend = backends[-1]
    keys = [key for key, _ in backend.list_values("schedules/shard", limit=1000).values]
    backend.write_values([ValueWrite(key=key, value=None) for key in keys])


FOUND += [
    Mutant(name=name, clause="T14", contract=contract_of("T14"), service=service)
    for name, service in (
        ("loses schedules at a restart", lambda: restartable(lose_values)),
        ("loses the shards of schedules at a restart", lambda: restartable(lose_cursors)),
    )
]
