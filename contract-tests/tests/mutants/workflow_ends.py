"""Pairs, workers and senders that break W7 to W9 and W24: how tasks end that expire, are cancelled, or fail."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from drivetrain.app import sending
from drivetrain.contract import Renewal, State, apply, evolve
from drivetrain.drivers.memory import MemoryBackend
from drivetrain.worker import heartbeat
from drivetrain.worker.execution import Execution, RunRefused
from drivetrain.worker.finishing import finisher, releasing
from drivetrain.worker.receiving import filtering
from drivetrain.workflow import advance as advancing
from drivetrain.workflow import plan as planning
from mutants.backend_base import Ruled
from mutants.workflow_base import breaks_core, breaks_pair

# W7: what was started in time, and what was not


@breaks_pair("W7", "lets nothing expire that was ever started, though it was given back")
class NeverExpiresAfterAStart(Ruled):
    started: ClassVar[set[str]] = set()

    def rule(self, before, wish, now):
        if wish.state is State.STARTED:
            self.started.add(wish.task_id)
        if wish.state is State.EXPIRED and wish.task_id in self.started:
            return None
        return apply(before, wish, now)


@breaks_core("W7", "lets a task expire whose worker has died")
def looks_at_the_message_alone(patch):
    patch.setattr(filtering.DeliveryFilter, "_begun", lambda *_told: set())


@breaks_core("W7", "lets a task expire that is to be tried again")
def forgets_the_first_attempt(patch):
    patch.setattr(filtering, "_BEGUN", frozenset({State.STARTED}))


@breaks_core("W7", "begins what has expired while it waited in its worker")
def looks_at_expiry_once(patch):
    admit = Execution.admit

    def admit_the_late(self, run):
        run.expires_at = None
        admit(self, run)

    patch.setattr(Execution, "admit", admit_the_late)


@breaks_core("W7", "drops what has expired while it waited in its worker")
def drops_what_is_late(patch):
    release = releasing.Releaser.release

    def release_what_is_in_time(self, runs, **how):
        now = self._runtime.clock.now()
        late = [run for run in runs if run.expires_at is not None and run.expires_at < now]
        self._acknowledger.acknowledge([run.delivery for run in late])
        release(self, [run for run in runs if run not in late], **how)

    patch.setattr(releasing.Releaser, "release", release_what_is_in_time)


# W8: what was cancelled


@breaks_pair("W8", "says to a run that was cancelled that it goes on")
class HidesCancellation(MemoryBackend):
    def _renew(self, lease, now):
        renewal = super()._renew(lease, now)
        return Renewal(held=True, state=State.STARTED) if renewal.state is State.CANCELLED else renewal


@breaks_core("W8", "looks at what runs only, when it renews leases")
def stops_what_runs(patch):
    stop = heartbeat.Heartbeat._stop
    patch.setattr(heartbeat.Heartbeat, "_stop", lambda self, run, state: stop(self, run, state) if run.began else None)


@breaks_core("W8", "begins what was cancelled while it waited in its worker")
def begins_what_is_cancelled(patch):
    def admit(self, run):
        now = self._runtime.clock.monotonic()
        if run.expires_at is not None and self._runtime.clock.now() > run.expires_at:
            raise RunRefused
        run.stopped = False
        run.began = now

    patch.setattr(Execution, "admit", admit)


# W9: what is called back


@breaks_core("W9", "runs no error callbacks of a task that never ran")
def forgets_the_abandoned(patch):
    patch.setattr(advancing, "_callbacks_of_abandoned", lambda *_told: ())


@breaks_core("W9", "runs error callbacks of what was cancelled")
def calls_back_for_the_cancelled(patch):
    def forged(real):
        return lambda *told: real(*told[:-2], evolve(told[-2], state=State.FAILURE), told[-1])

    for name in ("_error_callbacks", "_callbacks_of_abandoned"):
        patch.setattr(advancing, name, forged(getattr(advancing, name)))


@breaks_core("W9", "runs error callbacks of what never ran when what came before was cancelled")
def calls_back_behind_the_cancelled(patch):
    real = advancing._callbacks_of_abandoned
    patch.setattr(
        advancing,
        "_callbacks_of_abandoned",
        lambda frames, event, workflow: real(frames, evolve(event, state=State.FAILURE), workflow),
    )


@breaks_core("W9", "runs no error callbacks of what has expired")
def forgets_the_expired(patch):
    real = advancing._error_callbacks

    def error_callbacks(event, workflow):
        return real(event, workflow) if event.state is State.FAILURE else ()

    patch.setattr(advancing, "_error_callbacks", error_callbacks)


@breaks_core("W9", "runs the error callbacks of a group for the first member that fails")
def plans_callbacks_once(patch):
    real = planning._Planner._callbacks

    def callbacks(self, workflows, *level):
        made = vars(self).setdefault("made", {})
        key = tuple(map(id, workflows))
        if key not in made:
            made[key] = real(self, workflows, *level)
        return made[key]

    patch.setattr(planning._Planner, "_callbacks", callbacks)


@breaks_core("W9", "runs the error callbacks of a workflow for every task of it that does not run")
def calls_back_for_all(patch):
    real = advancing._callbacks_of_abandoned

    def of_the_workflow_too(frames, event, workflow):
        yield from real(frames, event, workflow)
        if event.state is not State.CANCELLED:
            for call in advancing.calls(frames):
                for then in call.workflow_on_error:
                    yield from advancing._resume(then, event.failure, workflow, call.id)

    patch.setattr(advancing, "_callbacks_of_abandoned", of_the_workflow_too)


@breaks_core("W9", "runs error callbacks when an attempt fails that another follows")
def calls_back_at_once(patch):
    real = finisher._effects_of

    def effects_of(ending):
        if ending.state is State.RETRY:
            return tuple(advancing._error_callbacks(advancing.Failed(ending.failure, ending.invocation.call), ""))
        return real(ending)

    patch.setattr(finisher, "_effects_of", effects_of)


@breaks_core("W9", "gives success callbacks the value that their task was given")
def gives_the_first_argument(patch):
    def advance(frames, event, *, workflow=""):
        if isinstance(event, advancing.Succeeded) and event.call.on_success and event.call.args:
            begin = partial(advancing._resume, workflow=workflow, parent=event.call.id)
            callbacks = [each for then in event.call.on_success for each in begin(then, event.call.args[0])]
            return (*callbacks, *begin(frames, event.value))
        return advancing.advance(frames, event, workflow=workflow)

    patch.setattr(finisher, "advance", advance)


# W24: what a cancellation answers


@breaks_pair("W24", "says of every cancellation that it was granted")
class GrantsEveryCancellation(MemoryBackend):
    def _record(self, wish, now):
        outcome = super()._record(wish, now)
        return evolve(outcome, applied=True) if wish.state is State.CANCELLED else outcome


@breaks_pair("W24", "tells nothing of what was there when it refuses")
class TellsNothingOfBefore(MemoryBackend):
    def _record(self, wish, now):
        outcome = super()._record(wish, now)
        return outcome if outcome.applied or wish.state is not State.CANCELLED else evolve(outcome, before=None)


def cancels(name):
    """Mark a function that cancels tasks, given what is known of them; it gives the answer."""

    def mark(function):
        @breaks_core("W24", name)
        def change(patch):
            def cancel(self, task_ids):
                return function(self, [record for record in self._read(list(task_ids)) if record is not None])

            patch.setattr(sending.Sender, "cancel", cancel)

        return function

    return mark


def _granted(self, records):
    """The tasks whose cancellation this call has granted."""
    wishes = [self.effect_runner.ended(self._cancelled(each)) for each in records if not each.state.terminal]
    outcomes = self.retrier.call("record", lambda: self._runtime.backend.record(wishes))
    return [outcome.before for outcome in outcomes if outcome.applied and outcome.before is not None]


@cancels("answers from what it has read")
def answers_from_what_was_read(self, records):
    cancelled = [each for each in records if not each.state.terminal or each.state is State.CANCELLED]
    self._cancel_downstream(_granted(self, records))
    return bool(cancelled)


@cancels("answers what this try of the call was granted")
def answers_the_last_try(self, records):
    granted = _granted(self, records)
    before = [each for each in records if each.state is State.CANCELLED]
    self._cancel_downstream([*before, *granted])
    return bool(before or granted)


@cancels("answers no for what was cancelled before")
def answers_this_call(self, records):
    cancelled = self._record_cancelled([each for each in records if not each.state.terminal])
    self._cancel_downstream(cancelled)
    return bool(cancelled)


@cancels("answers whether all were cancelled")
def answers_for_all(self, records):
    cancelled = [each for each in records if each.state is State.CANCELLED]
    cancelled += self._record_cancelled([each for each in records if not each.state.terminal])
    self._cancel_downstream(cancelled)
    return len(cancelled) == len(records)


@cancels("cancels what follows a task that has succeeded meanwhile")
def cancels_what_follows(self, records):
    cancelled = [each for each in records if each.state is State.CANCELLED]
    cancelled += self._record_cancelled([each for each in records if not each.state.terminal])
    self._cancel_downstream([each for each in records if not each.state.terminal])
    return bool(cancelled)


@cancels("cancels what follows a task that had succeeded before")
def cancels_what_follows_all(self, records):
    cancelled = [each for each in records if each.state is State.CANCELLED]
    cancelled += self._record_cancelled([each for each in records if not each.state.terminal])
    self._cancel_downstream([*cancelled, *(each for each in records if each.state is State.SUCCESS)])
    return bool(cancelled)
