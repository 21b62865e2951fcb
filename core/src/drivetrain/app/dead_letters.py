"""A filter that chooses dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from attrs import field, frozen

from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.contract import ConfigurationError

__all__ = ["DeadLetterFilter"]


def _names(given: Iterable[str]) -> frozenset[str]:
    return frozenset([given] if isinstance(given, str) else given)


def _aware(_filter: object, attribute: Any, moment: datetime | None) -> None:
    if moment is not None and moment.utcoffset() is None:
        raise ConfigurationError(f"{attribute.name} is {moment!r}, which has no time zone; give an aware datetime")


@frozen(kw_only=True)
class DeadLetterFilter:
    """Chooses the dead letters that match all its conditions. A condition that is left out matches every letter.

    Raises:
        ConfigurationError: a time has no time zone.
    """

    #: The ids of the tasks; empty: any.
    task_ids: frozenset[str] = field(default=frozenset(), converter=_names)
    #: The names of the tasks; empty: any. An unreadable letter has no name.
    tasks: frozenset[str] = field(default=frozenset(), converter=_names)
    #: A part of the reason, in upper or lower case; empty: any reason.
    reason: str = ""
    #: Dead-lettered before this time; must have a time zone.
    died_before: datetime | None = field(default=None, validator=_aware)
    #: Dead-lettered at this time or later; must have a time zone.
    died_after: datetime | None = field(default=None, validator=_aware)

    def matches(self, letter: QueuedTask) -> bool:
        """Whether ``letter`` matches all conditions."""
        return (
            (not self.task_ids or letter.task_id in self.task_ids)
            and (not self.tasks or letter.task in self.tasks)
            and self.reason.casefold() in (letter.reason or "").casefold()
            and self._died_in_time(letter.died_at)
        )

    def _died_in_time(self, died_at: datetime | None) -> bool:
        if self.died_before is None and self.died_after is None:
            return True
        return (
            died_at is not None
            and (self.died_before is None or died_at < self.died_before)
            and (self.died_after is None or died_at >= self.died_after)
        )
