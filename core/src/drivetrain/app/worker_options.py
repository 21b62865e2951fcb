"""The options of a worker: those that ``app.worker(…)`` is given, and the app's settings for all others. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, fields_dict

from drivetrain.app.settings import Settings
from drivetrain.contract import ConfigurationError
from drivetrain.worker.options import WorkerOptions

__all__ = ["worker_options"]

#: Settings that share a name with an option of a worker and mean something else.
_NOT_SHARED = frozenset({"name", "queues"})


def worker_options(settings: Settings, given: Mapping[str, Any]) -> WorkerOptions:
    """The options of a worker.

    Args:
        settings: the app's settings; they apply where ``given`` has no option.
        given: options by name. ``queues`` may be one name.

    Raises:
        ConfigurationError: an option is unknown, or its value is out of range.
    """
    known, shared = fields_dict(WorkerOptions), fields_dict(Settings).keys() - _NOT_SHARED
    if unknown := sorted(set(given) - set(known)):
        raise ConfigurationError(f"unknown worker option(s): {', '.join(unknown)}; use {', '.join(known)}")
    # Settings have the validators.
    checked = evolve(settings, **{name: given[name] for name in given if name in shared})
    values = {name: getattr(checked, name) for name in known if name in shared}
    queues = given.get("queues", settings.served_queues)
    names = tuple([queues] if isinstance(queues, str) else queues)
    _check_weights(given.get("queue_weights", {}), names)
    return WorkerOptions(**{**values, **given, "queues": names})


def _check_weights(weights: Mapping[str, Any], queues: tuple[str, ...]) -> None:
    if unknown := sorted(set(weights) - set(queues)):
        raise ConfigurationError(f"queue_weights names {', '.join(unknown)}, and the worker serves {', '.join(queues)}")
    for queue, weight in weights.items():
        if type(weight) is not int or weight < 1:
            raise ConfigurationError(f"the weight of queue {queue!r} is {weight!r}; use a whole number, 1 or more")
