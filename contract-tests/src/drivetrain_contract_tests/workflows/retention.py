"""Clauses W15 and W16: how long results are stored, and bodies that are too large for the broker."""

from __future__ import annotations

from typing import Any

from drivetrain import chain, chord, group
from drivetrain.contract import evolve, message_bytes
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.workflows.app_harness import AppHarness, call
from drivetrain_contract_tests.workflows.base import WorkflowBase
from drivetrain_contract_tests.workflows.faults import DiesBefore
from drivetrain_contract_tests.workflows.run_log import until
from drivetrain_contract_tests.workflows.state_machine import STORIES, story_of

__all__ = ["RetentionChecks"]

#: Messages of this size are certainly within what any broker takes, and a body twice as large is soon made.
_SMALL_BYTES = 4096
#: The largest body that is tried.
_LARGEST_TRIED = 4 * 1024 * 1024
#: How long a record is kept whose message may come again: longer than any check takes, in seconds.
_WINDOW_SECONDS = 600.0


class RetentionChecks(WorkflowBase):
    """What is stored for a workflow, and for how long."""

    @holds("W15")
    def test_a_retention_of_zero_changes_nothing_and_leaves_nothing(self) -> None:
        """Every task runs as it does otherwise, and nothing is stored once it is over."""
        self.at_once(self._play_unkept, list(STORIES))

    def _play_unkept(self, name: str) -> None:
        with self.harness() as harness:
            app = harness.working(result_retention_seconds=0, redelivery_window_seconds=0.5)
            story = story_of(harness, STORIES[name])
            _ = app.send(story.workflow)
            harness.run_log.wait_for(lambda ran: not story.ran - ran, self.patience_seconds)
            harness.quiet()
            self.check_ran(harness, story.ran)
            self._check_empty(harness)

    @holds("W15")
    def test_a_result_whose_message_is_gone_is_dropped_at_once(self) -> None:
        """A task that was sent alone: its message cannot come again, so nothing needs its record."""
        with self.harness() as harness:
            app = harness.working(result_retention_seconds=0, redelivery_window_seconds=_WINDOW_SECONDS)
            _ = app.send(call("act", label="alone"))
            harness.wait_ran("alone")
            self._check_empty(harness)

    @holds("W15", "W10")
    def test_a_result_is_kept_while_a_message_before_it_may_come_again(self) -> None:
        """A worker dies before it acknowledges a task whose follower another worker runs: that one runs once."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            kept: dict[str, Any] = {"result_retention_seconds": 0, "redelivery_window_seconds": _WINDOW_SECONDS}
            faults = DiesBefore(method="acknowledge")
            app = harness.app(faults=faults, **kept)
            worker = harness.worker(app)
            _ = harness.app(**kept).send(chain(call("act", label="first"), call("act", label="next")))
            assert faults.struck.wait(self.patience_seconds), "the worker acknowledges nothing"
            harness.disconnect(app)
            worker.stop(grace_seconds=0.0)
            harness.working(**kept)
            harness.wait_ran("next")
            harness.quiet()
            assert harness.run_log.ran() == {"first": 1, "next": 1}

    @holds("W15")
    def test_a_short_retention_outlasts_what_is_unfinished(self) -> None:
        """A chord whose first member has ended long ago, by its retention, still completes with its value."""
        with self.harness() as harness:
            app = harness.working(result_retention_seconds=0, redelivery_window_seconds=0)
            header = group(call("act", label="soon"), call("wait", label="late"))
            _ = app.send(chord(header, call("act", label="all")))
            assert harness.gates["late 0"].reached.wait(self.patience_seconds), "a member has not begun"
            harness.wait_ran("soon")
            harness.backend.sweep()
            harness.gates["late 0"].opened.set()
            harness.wait_ran("all")
            harness.quiet()
            (run,) = harness.run_log.of("all")
            assert run.args == ([["soon"], "run 0"],), f"the callback was given {run.args}"
            self._check_empty(harness)

    def _check_empty(self, harness: AppHarness) -> None:
        def empty() -> bool:
            harness.backend.sweep()
            counts = dict(harness.backend.counts())
            del counts["values"]  # workers report their status as values
            return not any(counts.values())

        late = self.backend_declares().expiry_resolution_seconds
        until(empty, "nothing is stored of a workflow that is over", self.patience_seconds + late)

    @holds("W16")
    def test_a_body_that_is_too_large_for_the_broker_arrives(self) -> None:
        """Alone, as a follower and in a group; afterwards its body is dropped."""
        declared = self.broker_declares().largest_message_bytes
        limit = declared if declared is not None and declared <= _LARGEST_TRIED else _SMALL_BYTES
        value_limit = self.backend_declares().largest_value_bytes
        size = limit if value_limit is None else min(limit, value_limit // 7)  # each letter may be six bytes of JSON
        text = "ä" * size
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.app(broker={"largest_message_bytes": limit})
            large = [evolve(call("measure", text, label=f"t{index}"), immutable=True) for index in range(4)]
            members = group(large[1:3])
            handle, alone = app.send(chain(large[0], members, call("act", label="all"))), app.send(large[3])
            harness.worker(app)
            outcome = harness.outcome(handle)
            assert outcome == ["all", [size, size]], f"large bodies give {outcome}, not their sizes"
            assert harness.outcome(alone) == size, "a large body arrives otherwise than it was sent"
            harness.quiet()
            until(lambda: not harness.backend.counts()["bodies"], "the bodies are dropped", self.patience_seconds)
            sizes = [message_bytes(message) for message in harness.run_log.messages]
            assert max(sizes) <= limit, f"a message of {max(sizes)} bytes was published, and {limit} is the limit"
            stored = [message for message in harness.run_log.messages if "drivetrain-body" in message.headers]
            assert stored, "no message was too large"

    @holds("W16")
    def test_a_large_body_survives_that_its_message_comes_again(self) -> None:
        """A retry of a task with a large body has it too."""
        with self.harness(lease_seconds=self.short_lease_seconds) as harness:
            app = harness.working(broker={"largest_message_bytes": _SMALL_BYTES})
            text = "x" * 2 * _SMALL_BYTES
            assert harness.outcome(app.send(call("flaky", text, label="again"))) == ["again", text]
            harness.quiet()
            assert [run.attempt for run in harness.run_log.runs] == [0, 1]
