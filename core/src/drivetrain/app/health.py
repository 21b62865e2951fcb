"""Checks whether the services of an app answer, and whether its workers live, within a time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import TypeVar

from attrs import frozen

from drivetrain.app.application import App
from drivetrain.contract import DrivetrainError
from drivetrain.worker.status import WorkerStatus

__all__ = ["HealthCheck", "check_services", "check_workers"]

T = TypeVar("T")


@frozen(kw_only=True)
class HealthCheck:
    """The result of one check.

    Attributes:
        name: what was checked: ``broker``, ``backend`` or ``workers``.
        healthy: whether it is as it should be.
        text: what was found.
    """

    name: str
    healthy: bool
    text: str


def check_services(app: App, timeout_seconds: float) -> Sequence[HealthCheck]:
    """Ask the broker and the backend, both at once, for an answer within a time.

    Args:
        app: the app whose services are asked.
        timeout_seconds: how long to wait for the answers, in seconds. An answer that comes later is ignored.
    """
    asked = {
        "broker": _in_thread(app.runtime.broker.ping),
        "backend": _in_thread(app.runtime.backend.ping),
    }
    return [_service_check(name, answer, timeout_seconds) for name, answer in asked.items()]


def check_workers(app: App, timeout_seconds: float, *, least: int, here: bool = False) -> HealthCheck:
    """Check that workers report, serve their queues, and are not blocked.

    Args:
        app: the app whose workers are counted.
        timeout_seconds: how long to wait for the backend, in seconds.
        least: how many there must be.
        here: whether only the workers of this machine or container count.
    """
    if not app.runtime.backend.capabilities.stores:
        return HealthCheck(name="workers", healthy=False, text="the backend stores nothing, so no worker can report")
    try:
        found = _in_thread(app.operations.workers).result(timeout_seconds)
    except NotInTime:
        text = f"the backend has not answered within {timeout_seconds:g} seconds"
        return HealthCheck(name="workers", healthy=False, text=text)
    except DrivetrainError as error:
        return HealthCheck(name="workers", healthy=False, text=str(error))
    counted = [one for one in found if not here or one.host == socket.gethostname()]
    return _worker_check(counted, least, " on this machine" if here else "")


def _worker_check(workers: Sequence[WorkerStatus], least: int, where: str) -> HealthCheck:
    blocked = [one for one in workers if one.blocked]
    serving = [one for one in workers if not one.blocked and not one.stopping]
    text = f"{len(serving)} of {len(workers)} workers{where} serve"
    if len(serving) < least:
        text += f", and {least} should"
    text += "".join(f"; {one.name} is blocked: {one.blocked}" for one in blocked)
    return HealthCheck(name="workers", healthy=len(serving) >= least, text=text)


def _service_check(name: str, answer: Future[None], timeout_seconds: float) -> HealthCheck:
    try:
        answer.result(timeout_seconds)
    except NotInTime:
        return HealthCheck(name=name, healthy=False, text=f"has not answered within {timeout_seconds:g} seconds")
    except DrivetrainError as error:
        return HealthCheck(name=name, healthy=False, text=str(error))
    return HealthCheck(name=name, healthy=True, text="answers")


def _in_thread(call: Callable[[], T]) -> Future[T]:
    """The answer of a call in a daemon thread, so that a service that does not answer cannot keep the process."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the answer is read
            answer.set_exception(error)

    threading.Thread(target=run, name="drivetrain-health", daemon=True).start()
    return answer
