"""Clauses W15 and W16: how long results are kept, and bodies that are too large for the broker."""

from __future__ import annotations

from drivetrain import chain, chord, group
from drivetrain.contract import evolve
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import Stage, call
from drivetrain_contract_tests.workflows.base import Bench
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.state_machine import STORIES, told

__all__ = ["Keeping"]

#: Messages of this size are certainly within what any broker takes, and a body twice as large is soon made.
_SMALL_BYTES = 4096
#: The largest body that is tried.
_LARGEST_TRIED = 4 * 1024 * 1024


class Keeping(Bench):
    """What is kept for a workflow, and for how long."""

    @holds("W15")
    def test_a_retention_of_zero_changes_nothing_and_leaves_nothing(self) -> None:
        """Every task runs as it does otherwise, and when it is over nothing is kept."""
        self.at_once(self._play_unkept, list(STORIES))

    def _play_unkept(self, name: str) -> None:
        with self.stage() as stage:
            app = stage.working(result_retention_seconds=0, redelivery_window_seconds=0.5)
            story = told(stage, STORIES[name])
            _ = app.send(story.workflow)
            stage.ledger.wait_for(lambda ran: not story.ran - ran, self.patience_seconds)
            stage.quiet()
            self.check_ran(stage, story.ran)
            self._check_nothing_left(stage)

    @holds("W15")
    def test_a_short_retention_outlasts_what_is_unfinished(self) -> None:
        """A chord whose first member has ended long ago, by its retention, still completes with its value."""
        with self.stage() as stage:
            app = stage.working(result_retention_seconds=0, redelivery_window_seconds=0)
            header = group(call("act", label="soon"), call("wait", label="late"))
            _ = app.send(chord(header, call("act", label="all")))
            assert stage.gates["late 0"].reached.wait(self.patience_seconds), "a member has not begun"
            stage.wait_ran("soon")
            stage.backend.sweep()
            stage.gates["late 0"].opened.set()
            stage.wait_ran("all")
            stage.quiet()
            (run,) = stage.ledger.of("all")
            assert run.args == ([["soon"], "run 0"],), f"the callback was given {run.args}"
            self._check_nothing_left(stage)

    def _check_nothing_left(self, stage: Stage) -> None:
        def empty() -> bool:
            stage.backend.sweep()
            return not any(stage.backend.counts().values())

        late = self.backend_declares().expiry_resolution_seconds
        until(empty, "nothing is kept of a workflow that is over", self.patience_seconds + late)

    @holds("W16")
    def test_a_body_that_is_too_large_for_the_broker_arrives(self) -> None:
        """Alone, as a follower and in a group; afterwards its body is kept no more."""
        declared = self.broker_declares().largest_message_bytes
        limit = declared if declared is not None and declared <= _LARGEST_TRIED else _SMALL_BYTES
        kept = self.backend_declares().largest_value_bytes
        size = limit if kept is None else min(limit, kept // 7)  # each letter may be six bytes of JSON
        text = "ä" * size
        with self.stage(lease_seconds=self.short_lease_seconds) as stage:
            app = stage.app(broker={"largest_message_bytes": limit})
            large = [evolve(call("measure", text, label=f"t{index}"), immutable=True) for index in range(4)]
            members = group(large[1:3])
            handle, alone = app.send(chain(large[0], members, call("act", label="all"))), app.send(large[3])
            stage.worker(app)
            outcome = stage.outcome(handle)
            assert outcome == ["all", [size, size]], f"large bodies give {outcome}, not their sizes"
            assert stage.outcome(alone) == size, "a large body arrives otherwise than it was sent"
            stage.quiet()
            until(lambda: not stage.backend.counts()["bodies"], "the bodies are dropped", self.patience_seconds)
            stored = [message for message in stage.ledger.messages if "drivetrain-body" in message.headers]
            assert stored, "no message was too large"

    @holds("W16")
    def test_a_large_body_survives_that_its_message_comes_again(self) -> None:
        """A retry of a task with a large body has it too."""
        with self.stage(lease_seconds=self.short_lease_seconds) as stage:
            app = stage.working(broker={"largest_message_bytes": _SMALL_BYTES})
            text = "x" * 2 * _SMALL_BYTES
            assert stage.outcome(app.send(call("flaky", text, label="again"))) == ["again", text]
            stage.quiet()
            assert [run.attempt for run in stage.ledger.runs] == [0, 1]
