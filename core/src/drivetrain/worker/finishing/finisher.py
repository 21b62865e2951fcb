"""The finisher: records the results of runs, performs what follows, and settles messages; each step for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from drivetrain.contract import State
from drivetrain.worker.activity import Activity
from drivetrain.worker.announcing import announce
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.events import notify_step
from drivetrain.worker.execution import error_text
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.finishing.notifying import ResultNotifier
from drivetrain.worker.finishing.recording import ResultRecorder
from drivetrain.worker.finishing.releasing import Releaser
from drivetrain.worker.in_flight import InFlight
from drivetrain.worker.kept_messages import KeptMessages
from drivetrain.worker.limits.freeing import PlaceReleaser
from drivetrain.worker.limits.uniqueness import ClaimReleaser
from drivetrain.worker.log_text import shortened
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.publisher import Publisher, offers, workflow_of
from drivetrain.worker.replacing import replacement_effects
from drivetrain.worker.results import dead_reason_of
from drivetrain.worker.retrying import GaveUp, Retrier
from drivetrain.worker.run import Run, RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.version_mismatch import next_offer_seconds
from drivetrain.workflow.advance import Effect, Failed, Succeeded, advance

__all__ = ["Finisher"]

logger = get_logger("drivetrain.worker")


class Finisher:
    """Settles the results of runs. Thread-safe; every step may be repeated without harm."""

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        recorder: ResultRecorder,
        publisher: Publisher,
        effect_runner: EffectRunner,
        acknowledger: Acknowledger,
        kept_messages: KeptMessages,
        claim_releaser: ClaimReleaser,
        place_releaser: PlaceReleaser,
        releaser: Releaser,
        in_flight: InFlight,
        activity: Activity,
        retrier: Retrier,
    ) -> None:
        self._runtime = runtime
        self._options = options
        self._recorder = recorder
        self._publisher = publisher
        self._effect_runner = effect_runner
        self._acknowledger = acknowledger
        self._kept_messages = kept_messages
        self._claim_releaser = claim_releaser
        self._place_releaser = place_releaser
        self._releaser = releaser
        self._in_flight = in_flight
        self._activity = activity
        self._retrier = retrier
        self._notifier = ResultNotifier(runtime, options)

    def settle(self, results: Sequence[RunResult]) -> None:
        """Record results, perform what follows, and settle their messages.

        Raises:
            GaveUp: the worker stops while a service is unavailable; the messages will be delivered again.
        """
        if not results:
            return
        for result in results:
            if result.run is not None:
                result.run.settling = True
        try:
            self._settle(results)
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001 - a third-party driver may raise anything; it is logged and the message dead-lettered
            if len(results) > 1:
                for result in results:  # one result that cannot be settled must not block the others
                    self.settle([result])
            else:
                self._dead_letter_unsettled(results[0], error)

    def _settle(self, results: Sequence[RunResult]) -> None:
        if any(result.state is State.RECEIVED for result in results):
            results = self._give_back(results)
        if any(result.mismatch for result in results):
            results = self._offer_mismatches(results)
        observers = self._runtime.observers
        notify_step(observers, "ran", [result for result in results if result.run is not None])
        results, before = self._effect_runner.long_chains.load_replaced(results)
        settled, progress = self._recorder.record(results)
        notify_step(observers, "recorded", settled)
        self._activity.ended(settled)
        self._notifier.notify(settled)
        self._notifier.log_successes(settled)
        settled, loaded = self._effect_runner.long_chains.load_needed(settled)
        self._announce_replacements([result for result in settled if result.replacement])
        self._effect_runner.perform([effect for result in settled for effect in _effects_of(result)], progress)
        self._publish_retries([one for one in settled if one.state is State.RETRY and not one.replacement])
        notify_step(observers, "followed_up", settled)
        self._kept_messages.keep_failed(settled)
        if self._runtime.registry.limited:
            self._place_releaser.release(settled)
        if self._runtime.registry.unique:
            self._claim_releaser.release(settled)
        self._acknowledger.finish(settled)
        if before or loaded:
            self._drop_loaded(settled, {**before, **loaded})
        notify_step(observers, "acknowledged", settled)
        self._in_flight.remove(result.run for result in results if result.run is not None)

    def _drop_loaded(self, settled: Sequence[RunResult], loaded: Mapping[str, Sequence[str]]) -> None:
        """Drop the parts of long chains that no message needs any more. Dead letters keep theirs."""
        done = [result.task_id for result in settled if dead_reason_of(result) is None]
        self._effect_runner.long_chains.drop(key for task_id in done for key in loaded.get(task_id, ()))

    def _announce_replacements(self, results: Sequence[RunResult]) -> None:
        """Record the tasks that wait for the replacements of others."""
        if results:
            effects = [effect for result in results for effect in replacement_effects(result)]
            announce(self._runtime, self._retrier, effects)

    def _publish_retries(self, results: Sequence[RunResult]) -> None:
        if not results:
            return
        now = self._runtime.clock.now()
        self._publisher.publish_messages(
            [
                self._publisher.message(
                    replace(result.invocation, attempt=result.invocation.attempt + 1),
                    now,
                    workflow=workflow_of(result.delivery.message),
                    eta=result.retry_at,
                )
                for result in results
            ]
        )

    def _give_back(self, results: Sequence[RunResult]) -> list[RunResult]:
        """Release runs that did not end, and delay those that were postponed; the other results."""
        back = [result for result in results if result.state is State.RECEIVED]
        self._releaser.release([one.run for one in back if one.run is not None and one.postponed_until is None])
        self._releaser.postpone(
            [(one.run, one.postponed_until) for one in back if one.run is not None and one.postponed_until is not None]
        )
        return [result for result in results if result.state is not State.RECEIVED]

    # A worker with another version

    def _offer_mismatches(self, results: Sequence[RunResult]) -> list[RunResult]:
        """Offer tasks whose arguments do not fit this worker's version to other workers; the other results."""
        unchanged: list[RunResult] = []
        offered: list[tuple[Run, float]] = []
        for result in results:
            delay = self._offer_seconds(result) if result.mismatch else None
            if delay is None or result.run is None:
                unchanged.append(result)
                continue
            text = (
                "the arguments do not fit this worker's version of the task; offering it to other workers in %.1f s: %s"
            )
            reason = "" if result.error is None else shortened(result.error.message)
            logger.warning(text, delay, reason, extra=log_extra(result.invocation))
            offered.append((result.run, delay))
        if offered:
            self._releaser.offer_runs(offered)
        return unchanged

    def _offer_seconds(self, result: RunResult) -> float | None:
        return next_offer_seconds(offers(result.delivery.message), self._options.version_mismatch_seconds)

    # Results that cannot be settled

    def _dead_letter_unsettled(self, result: RunResult, error: Exception) -> None:
        """Fail what depends on a result that cannot be settled, and dead-letter its message for an operator."""
        extra = log_extra(result.invocation)
        logger.error(
            "task %s cannot be settled; moving its message to the dead letters",
            result.task_id,
            exc_info=error,
            extra=extra,
        )
        try:
            self._fail(result, error)
        except GaveUp:
            raise
        except Exception:  # both failed; the lease ends, and another worker repeats the task
            text = "task %s: its message cannot be moved to the dead letters; it will be delivered again"
            logger.exception(text, result.task_id, extra=extra)
        self._in_flight.remove([result.run] if result.run is not None else [])

    def _fail(self, result: RunResult, error: Exception) -> None:
        reason = f"it cannot be settled: {error_text(error)}"
        failed = self._recorder.unsettled(result, error, dead_reason=reason)
        outcome = self._recorder.record_failure(failed)
        if not outcome.applied and (outcome.before is None or not outcome.before.state.terminal):
            return  # another worker has taken it over, and settles it
        call = failed.invocation.call if outcome.applied else None
        event, workflow = Failed(failed.failure, call), workflow_of(result.delivery.message)
        frames = (*failed.invocation.frames, *self._effect_runner.long_chains.load_all(failed.invocation).frames)
        self._effect_runner.perform(advance(frames, event, workflow=workflow))
        self._acknowledger.dead_letter([(result.delivery, reason)])


def _effects_of(result: RunResult) -> tuple[Effect, ...]:
    """What follows a recorded result. Pure."""
    call, frames = result.invocation.call, result.invocation.frames
    rest = result.invocation.rest
    if result.replacement:
        return replacement_effects(result)
    if result.state is State.RETRY or not (frames or rest or call.on_success or call.on_error):
        return ()
    workflow = workflow_of(result.delivery.message)
    if result.state is State.SUCCESS:
        return advance(frames, Succeeded(call, result.value), workflow=workflow, rest=rest)
    return advance(frames, Failed(result.failure, call, result.state), workflow=workflow)
