"""Pausing and resuming queues at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivetrain.contract import Backend, ConfigurationError, NotSupported, ValueWrite
from drivetrain.worker.pauses import Pause, pause_key, read_pauses
from drivetrain.worker.value_codec import encode

__all__ = ["pause_queues", "paused_queues", "resume_queues"]


def pause_queues(backend: Backend, queues: Sequence[str], pause: Pause) -> None:
    """Pause queues, durably. A queue that is paused already gets the new reason.

    Raises:
        NotSupported: the backend stores nothing.
        ConfigurationError: a queue has no name.
        ServiceError: the backend could not be reached.
    """
    _check(backend, queues)
    backend.write_values([ValueWrite(key=pause_key(queue), value=encode(pause)) for queue in queues])


def resume_queues(backend: Backend, queues: Sequence[str]) -> list[str]:
    """Resume queues; those that were paused.

    Raises:
        NotSupported: the backend stores nothing.
        ConfigurationError: a queue has no name.
        ServiceError: the backend could not be reached.
    """
    _check(backend, queues)
    paused = read_pauses(backend, queues)
    backend.write_values([ValueWrite(key=pause_key(queue), value=None) for queue in queues])
    return list(paused)


def paused_queues(backend: Backend, queues: Sequence[str]) -> Mapping[str, Pause]:
    """The pauses of those of ``queues`` that are paused.

    Raises:
        ServiceError: the backend could not be reached.
    """
    return read_pauses(backend, queues) if backend.capabilities.stores else {}


def _check(backend: Backend, queues: Sequence[str]) -> None:
    if not backend.capabilities.stores:
        raise NotSupported("pausing queues needs a backend that stores results, and this app's backend is null://")
    if "" in queues:
        raise ConfigurationError("the name of a queue is empty; name a queue, for example 'default'")
