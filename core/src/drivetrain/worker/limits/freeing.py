"""Frees the places of runs that end here, and wakes the tasks that wait for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivetrain.worker.limits.place import Place
from drivetrain.worker.limits.places import Change, PlaceKeeper
from drivetrain.worker.logs import get_logger
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.run import Run, RunResult
from drivetrain.worker.runtime import Runtime

__all__ = ["PlaceReleaser"]

logger = get_logger("drivetrain.worker")


class PlaceReleaser:
    """Frees places, and publishes the messages of the tasks that get them. Thread-safe.

    It comes before a message is acknowledged. After a crash the message is delivered again, and the next worker wakes
    what this one has not. All methods raise `GaveUp` if the worker stops while a service is unavailable.
    """

    def __init__(self, runtime: Runtime, keeper: PlaceKeeper, publisher: Publisher) -> None:
        self._runtime = runtime
        self._keeper = keeper
        self._publisher = publisher

    def release(self, results: Sequence[RunResult]) -> None:
        """Free the places of results that are recorded. A repetition that has not ended keeps them for its next run."""
        ended = [result for result in results if result.state.terminal or not result.recorded]
        self._free({result.task_id: places for result in ended if (places := self._places(result))})

    def release_runs(self, runs: Sequence[Run]) -> None:
        """Free the places of runs that are released."""
        self._free({run.task_id: run.places for run in runs if run.places})

    def follow(self, change: Change) -> None:
        """Publish the messages of tasks that have a place now."""
        self._publisher.publish_messages(change.woken)
        self._keeper.remove_entries(change)

    def _free(self, freed: Mapping[str, Sequence[Place]]) -> None:
        if freed:
            self.follow(self._keeper.free(freed))

    def _places(self, result: RunResult) -> tuple[Place, ...]:
        if result.run is not None:
            return result.run.places
        call = result.invocation.call
        definition = self._runtime.registry.get(call.task)
        if definition is None or definition.limits is None or not definition.limits.concurrency:
            return ()
        try:
            return definition.limits.places(definition.binding.decode_call(call.args, call.kwargs))
        except Exception as error:  # noqa: BLE001 - wrong arguments, or a function of the application: then it has never had a place
            logger.debug("no places of task %s: %s", result.task_id, error)
            return ()
