"""The names of the queues of an app."""

from __future__ import annotations

from drivetrain.app.services import Services

__all__ = ["queue_names"]


def queue_names(services: Services) -> list[str]:
    """The queues that the broker lists, and those that the app's settings and tasks name; sorted.

    Raises:
        ServiceError: the broker could not be reached.
    """
    runtime = services.runtime
    named = {definition.defaults.queue for definition in runtime.registry.values()}
    return sorted({*runtime.broker.queues(), *named, *services.settings.served_queues})
