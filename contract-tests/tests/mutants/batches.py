"""Core whose batches wait without end, hold slots, mix rows up, or lose them: F9 to F11."""

from __future__ import annotations

import math

from drivetrain.worker import execution, flow_control, receive_loop
from drivetrain.worker.batches import collecting, running
from drivetrain.worker.in_flight import InFlight
from mutants.workflow_base import breaks_core

# F9: when a batch runs


@breaks_core("F9", "waits until a batch is full")
def waits_until_full(patch):
    add = collecting.BatchCollector._add

    def wait_without_end(self, row, batch):
        full = add(self, row, batch)
        for one in self._open.values():
            one.due = math.inf
        return full

    patch.setattr(collecting.BatchCollector, "_add", wait_without_end)


@breaks_core("F9", "waits although a batch is full")
def waits_although_full(patch):
    add = collecting.BatchCollector._add

    def never_full(self, row, batch):
        return add(self, row, type("Endless", (), {"size": math.inf, "wait": batch.wait}))

    patch.setattr(collecting.BatchCollector, "_add", never_full)


@breaks_core("F9", "calls the function for each row")
def calls_for_each(patch):
    patch.setattr(
        collecting.BatchCollector,
        "_add",
        lambda self, row, _batch: _alone(self, row),
    )


def _alone(collector, row):
    batch = collecting.batch_of([row])
    collector._in_flight.form(batch)
    return batch


@breaks_core("F9", "holds a slot for each row that waits")
def holds_slots(patch):
    in_pool = InFlight.in_pool
    patch.setattr(InFlight, "in_pool", lambda self, pool: in_pool(self, pool) + sum(self._collected.values()))
    patch.setattr(flow_control.FlowControl, "_may_wait", lambda *_: True)


# F10: rows apart


@breaks_core("F10", "fails all rows because of one")
def fails_all(patch):
    items = running._items

    def first_error(run, value, number):
        given = items(run, value, number)
        errors = [one for one in given if isinstance(one, Exception)]
        return errors[:1] * number if errors else given

    patch.setattr(running, "_items", first_error)


@breaks_core("F10", "gives each row the result of the first")
def mixes_up(patch):
    items = running._items
    patch.setattr(running, "_items", lambda run, value, number: [*items(run, value, number)][:1] * number)


@breaks_core("F10", "retries no row")
def retries_no_row(patch):
    failed = execution.Execution._failed

    def final(self, run, error):
        return failed(self, run, error) if run.batch is None else self._final(run, error)

    patch.setattr(execution.Execution, "_failed", final)


@breaks_core("F10", "runs rows that were cancelled while they waited")
def runs_cancelled(patch):
    patch.setattr(running, "admit_rows", lambda _execution, batch: setattr(batch, "running", list(batch.rows)))
    patch.setattr(execution, "admit_rows", running.admit_rows)


# F11: rows that are lost


@breaks_core("F11", "keeps the rows that wait when it stops")
def keeps_rows(patch):
    patch.setattr(collecting.BatchCollector, "take_back", lambda *_: [])


@breaks_core("F11", "acknowledges rows when they are collected")
def acknowledges_early(patch):
    ready = receive_loop.ReceiveLoop._take

    def take(self, deliveries):
        ready(self, deliveries)
        self._settlements.acknowledge(deliveries)

    patch.setattr(receive_loop.ReceiveLoop, "_take", take)
