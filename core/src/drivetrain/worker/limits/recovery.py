"""Recovers the places of runs that have lost their lease, in a thread of each worker whose tasks have such limits."""

from __future__ import annotations

import threading

from drivetrain.contract import ServiceError
from drivetrain.worker.limits.freeing import PlaceReleaser
from drivetrain.worker.limits.places import PlaceKeeper
from drivetrain.worker.logs import get_logger
from drivetrain.worker.retrying import GaveUp
from drivetrain.worker.runtime import Runtime

__all__ = ["PlaceRecovery"]

logger = get_logger("drivetrain.worker")


class PlaceRecovery:
    """Looks twice in each lease for places whose task has died, while other tasks wait for them.

    Args:
        runtime: the drivers and tasks of the app.
        keeper: frees the places.
        releaser: publishes the messages of the tasks that get them.
        lease_seconds: the length of a lease, in seconds.
    """

    def __init__(self, runtime: Runtime, keeper: PlaceKeeper, releaser: PlaceReleaser, *, lease_seconds: float) -> None:
        #: The name of its thread.
        self.name = "drivetrain-limits"
        self._runtime = runtime
        self._keeper = keeper
        self._releaser = releaser
        self._pause_seconds = lease_seconds / 2
        self._end = threading.Event()
        definitions = runtime.registry.values()
        #: The concurrency limits of the app's tasks by name; empty: there is nothing to do.
        self.limits = {
            one.spec.name: one.spec.limit
            for definition in definitions
            if definition.limits is not None
            for one in definition.limits.concurrency
        }

    def run(self) -> None:
        """Look until `stop`."""
        while not self._runtime.clock.wait_event(self._end, self._pause_seconds):
            try:
                self._releaser.follow(self._keeper.recover(self.limits))
            except GaveUp:
                return
            except ServiceError as error:
                logger.warning("cannot look for places of dead tasks: %s; trying again", error)
            except Exception:  # a third-party driver may raise anything, and this thread must live on
                logger.exception("unexpected error while looking for places of dead tasks; trying again")

    def stop(self) -> None:
        """End `run`."""
        self._end.set()
