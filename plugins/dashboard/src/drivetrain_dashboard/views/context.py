"""What the readers of view-models have: the app, and what the dashboard remembers between two readings."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from attrs import frozen

from drivetrain import App
from drivetrain.app.operations import Operations
from drivetrain_dashboard.views.trends import Trends

__all__ = ["ReadContext", "Remembered"]

T = TypeVar("T")

#: How many values are remembered at most.
_MOST_REMEMBERED = 100


class Remembered:
    """Values that are read again only after some time. Thread-safe.

    Args:
        monotonic: a clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def get(self, key: Hashable, seconds: float, read: Callable[[], T]) -> T:
        """The value of ``key``: as it was read at most ``seconds`` ago, or read now. Errors are not remembered."""
        now = self._monotonic()
        with self._lock:
            found = self._values.get(key)
        if found is not None and now - found[0] < seconds:
            value: T = found[1]
            return value
        value = read()
        with self._lock:
            self._values[key] = (now, value)
            self._values.move_to_end(key)
            while len(self._values) > _MOST_REMEMBERED:
                self._values.popitem(last=False)
        return value


@frozen
class ReadContext:
    """What a reader of a view-model gets. Thread-safe.

    Attributes:
        app: the app.
        trends: the sizes of queues and the workers that earlier readings have seen.
        remembered: values that change slowly.
    """

    app: App
    trends: Trends
    remembered: Remembered

    @classmethod
    def of(cls, app: App) -> ReadContext:
        """The context of an app, with nothing remembered."""
        return cls(app, Trends(), Remembered(app.runtime.clock.monotonic))

    @property
    def operations(self) -> Operations:
        """What operators do with the app."""
        return self.app.operations

    @property
    def stores(self) -> bool:
        """Whether the backend stores anything."""
        return self.app.runtime.backend.capabilities.stores

    def now(self) -> float:
        """The time, in Unix seconds."""
        return self.app.runtime.clock.now()
