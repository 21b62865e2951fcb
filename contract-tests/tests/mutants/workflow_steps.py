"""Core that leaves out, repeats or exchanges a step of handling a message: W1 to W5, W10 to W19."""

from __future__ import annotations

from msgspec.structs import replace

from drivetrain.app import sending
from drivetrain.contract import State
from drivetrain.worker import effects, execution, publisher, results, retrying
from drivetrain.worker.downstream import Downstream
from drivetrain.worker.finishing import acknowledging, finisher, recording
from drivetrain.worker.receiving import reading, starting
from drivetrain.worker.start_decision import StartDecision
from drivetrain.worker.worker import Worker
from drivetrain.workflow import advance as advancing
from drivetrain.workflow.frames import Call
from mutants.workflow_base import breaks_core

# W1 and W2: what a workflow gives


@breaks_core("W1", "ends a workflow at an empty group")
def stops_at_an_empty_group(patch):
    resume = advancing._resume

    def resume_or_stop(frames, value, *where):
        top = frames[0] if frames else None
        if isinstance(top, advancing.Fork) and not top.branches:
            yield advancing.End(top.group_id, State.SUCCESS)
            return
        yield from resume(frames, value, *where)

    patch.setattr(advancing, "_resume", resume_or_stop)


@breaks_core("W1", "gives an immutable task the value before it")
def gives_every_task_a_value(patch):
    receive = Call.receive
    patch.setattr(Call, "receive", lambda self, value: receive(replace(self, immutable=False), value))


@breaks_core("W2", "publishes the first task of a batch of followers")
def publishes_the_first(patch):
    publish = effects.EffectRunner._publish
    patch.setattr(effects.EffectRunner, "_publish", lambda self, chosen: publish(self, list(chosen)[:1]))


@breaks_core("W4", "ends the next task after a failure, and not what comes after that")
def ends_the_next(patch):
    abandon = advancing._abandon

    def abandon_the_next(frames, event, workflow):
        ended = False
        for effect in abandon(frames, event, workflow):
            if not isinstance(effect, advancing.End) or not ended:
                yield effect
            ended = ended or isinstance(effect, advancing.End)

    patch.setattr(advancing, "_abandon", abandon_the_next)


# W5: what is tried again


@breaks_core("W5", "tries once more than the policy allows")
def tries_once_more(patch):
    delay = execution.Execution._retry_delay

    def delay_of(self, invocation, error):
        earlier = replace(invocation, attempt=max(0, invocation.attempt - 1))
        return delay(self, earlier, error)

    patch.setattr(execution.Execution, "_retry_delay", delay_of)


@breaks_core("W5", "publishes a retry without its time")
def retries_at_once(patch):
    message = publisher.Publisher.message
    patch.setattr(
        publisher.Publisher, "message", lambda self, invocation, now, eta=None: message(self, invocation, now)
    )


@breaks_core("W1", "forgets what follows a task when it is retried")
def retries_alone(patch):
    publish = finisher.Finisher._publish_retries

    def publish_alone(self, results):
        publish(self, [replace(one, invocation=replace(one.invocation, frames=())) for one in results])

    patch.setattr(finisher.Finisher, "_publish_retries", publish_alone)


# W9: what follows a failure is sent once


@breaks_core("W9", "lets every failed member of a group send what follows")
def claims_nothing(patch):
    patch.setattr(effects.EffectRunner, "_claim", lambda _self, decided: list(decided))


# W10: workers that die


@breaks_core("W10", "acknowledges before it sends what follows")
def acknowledges_first(patch):
    record = recording.ResultRecorder.record

    def record_and_acknowledge(self, ended):
        settled, progress = record(self, ended)
        self._runtime.broker.acknowledge([one.delivery for one in settled])
        return settled, progress

    patch.setattr(recording.ResultRecorder, "record", record_and_acknowledge)


@breaks_core("W10", "takes a recorded end for the end of all work")
def follows_up_once(patch):
    effects_of = finisher._effects_of
    patch.setattr(finisher, "_effects_of", lambda one: () if one.recorded else effects_of(one))


@breaks_core("W10", "takes a recorded retry for a published one")
def publishes_retries_once(patch):
    publish = finisher.Finisher._publish_retries
    patch.setattr(
        finisher.Finisher,
        "_publish_retries",
        lambda self, results: publish(self, [one for one in results if not one.recorded]),
    )


@breaks_core("W10", "forgets that the message of a task that has ended is a dead letter")
def forgets_dead_letters(patch):
    patch.setattr(results.ResultFactory, "_recorded_dead_reason", lambda *_told: None)


@breaks_core("W10", "drops a message whose task another worker runs")
def drops_what_is_busy(patch):
    patch.setattr(
        starting.Starter,
        "_release_busy",
        lambda self, run, _before, _now: self._acknowledger.acknowledge([run.delivery]),
    )


# W11: calls that fail


@breaks_core("W11", "calls a service once")
def calls_once(patch):
    def call(_self, _what, function):
        return function()

    patch.setattr(retrying.Retrier, "call", call)


@breaks_core("W11", "ignores a call that has failed twice")
def gives_up_silently(patch):
    pause = retrying.Retrier._pause_or_raise

    def pause_or_ignore(self, what, error, tries, seconds):
        if what in {"publish", "acknowledge"} and tries >= 1:
            raise retrying.GaveUp from error
        pause(self, what, error, tries, seconds)

    patch.setattr(retrying.Retrier, "_pause_or_raise", pause_or_ignore)


# W12 and W13: messages that come again, and leases that are lost


@breaks_core("W12", "runs a message that another worker runs already")
def runs_what_is_busy(patch):
    decide = starting.decide_start
    patch.setattr(
        starting,
        "decide_start",
        lambda *told, **more: StartDecision.RUN if (found := decide(*told, **more)) is StartDecision.BUSY else found,
    )


@breaks_core("W12", "runs an attempt again whose retry is recorded")
def runs_what_is_retried(patch):
    decide = starting.decide_start
    patch.setattr(
        starting,
        "decide_start",
        lambda *told, **more: (
            StartDecision.RUN
            if (found := decide(*told, **more)) in {StartDecision.RETRYING, StartDecision.STALE}
            else found
        ),
    )


@breaks_core("W13", "sends what follows a run that has lost its lease")
def follows_up_what_is_lost(patch):
    recorded = recording.ResultRecorder._recorded_result

    def recorded_or_lost(self, result, transition, outcome):
        found = recorded(self, result, transition, outcome)
        return result if found is None else found

    patch.setattr(recording.ResultRecorder, "_recorded_result", recorded_or_lost)


# W14: what cannot be run


@breaks_core("W14", "acknowledges what it cannot read")
def drops_what_is_unreadable(patch):
    patch.setattr(
        reading.MessageReader,
        "_settle_unreadable",
        lambda self, delivery, _error: self._acknowledger.acknowledge([delivery]),
    )


@breaks_core("W14", "gives all dead letters of a batch the reason of the first")
def gives_one_reason(patch):
    dead_letter = acknowledging.Acknowledger.dead_letter
    patch.setattr(
        acknowledging.Acknowledger,
        "dead_letter",
        lambda self, letters: dead_letter(self, [(delivery, letters[0][1]) for delivery, _ in letters]),
    )


@breaks_core("W14", "ends nothing that waits for what it cannot read")
def forgets_what_waits_for_the_unreadable(patch):
    patch.setattr(reading.MessageReader, "_known", lambda *_told: Downstream())


# W15 and W16: what is stored


@breaks_core("W15", "keeps every result for the time in which its message may come again")
def lets_nothing_expire(patch):
    patch.setattr(acknowledging.Acknowledger, "_shorten_retention", lambda *_told: None)


@breaks_core("W15", "shortens the retention of what a worker has sent too")
def forgets_what_follows(patch):
    patch.setattr(acknowledging, "FOLLOWS_HEADER", "no such header")


@breaks_core("W16", "keeps the bodies of messages that are gone")
def keeps_bodies(patch):
    patch.setattr(
        acknowledging.Acknowledger, "acknowledge", lambda self, deliveries: self.acknowledge_copied(deliveries)
    )


@breaks_core("W16", "stores large bodies of senders only")
def stores_bodies_of_senders(patch):
    store = publisher.Publisher._store_large_bodies
    patch.setattr(
        publisher.Publisher,
        "_store_large_bodies",
        lambda self, messages: messages if self._follows else store(self, messages),
    )


# W17: what a pair cannot do


@breaks_core("W17", "sends what the pair cannot do")
def checks_nothing(patch):
    patch.setattr(sending.Sender, "_check", lambda *_told: None)


@breaks_core("W17", "records a result that is too large as it is")
def records_what_is_too_large(patch):
    patch.setattr(recording.ResultRecorder, "_within_size_limit", lambda _self, result: result)


# W19: workers that are asked to stop


@breaks_core("W19", "keeps what has not begun when it stops")
def keeps_what_waits(patch):
    patch.setattr("drivetrain.worker.receive_loop.ReceiveLoop.release_waiting", lambda _self: None)


@breaks_core("W19", "gives back nothing at the end of its grace")
def abandons_nothing(patch):
    patch.setattr(Worker, "_abandon", lambda _self: None)


@breaks_core("W19", "gives back what runs before its grace is over")
def has_no_grace(patch):
    end = Worker._end_grace

    def end_at_once(self, finished):
        self._grace_seconds = 0.0
        end(self, finished)

    patch.setattr(Worker, "_end_grace", end_at_once)
