"""Actions on limits: set one for all workers, and let it be as in the code again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from drivetrain import App
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done
from drivetrain_dashboard.actions.refusals import stores_nothing
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.views.page import Id

__all__ = ["LIMIT_ACTIONS", "LimitChoice", "LimitNumbers"]

_Positive = Annotated[float, Meta(gt=0)]


class LimitNumbers(Arguments, frozen=True, kw_only=True):
    """The new numbers of a limit.

    Attributes:
        name: the name of the limit, as in the code.
        limit: how much may start in each period; of a concurrency limit: how many tasks may run at the same time.
        per: the length of a period in seconds; left out: as in the code.
        burst: how much may start at once after a pause; left out: as in the code.
    """

    name: Id
    limit: _Positive
    per: _Positive | None = None
    burst: _Positive | None = None


class LimitChoice(Arguments, frozen=True, kw_only=True):
    """Which limit to reset.

    Attributes:
        name: its name.
    """

    name: Id


def _set(app: App, chosen: LimitNumbers, by: str) -> Done:
    app.limits.set(chosen.name, chosen.limit, per=chosen.per, burst=chosen.burst, by=by)
    return Done(text=f"Limit {chosen.name} is set to {chosen.limit:g} for all workers.")


def _reset(app: App, chosen: LimitChoice, _by: str) -> Done:
    was_changed = app.limits.reset(chosen.name)
    return Done(text=f"Limit {chosen.name} {'is as in the code again' if was_changed else 'was not changed'}.")


def _limit_of(chosen: LimitNumbers | LimitChoice) -> Sequence[str]:
    return [chosen.name]


LIMIT_ACTIONS = (
    ActionKind(
        name="limits.set",
        label="Set",
        summary="Change a limit for all its keys and all workers, until it is reset.",
        arguments=LimitNumbers,
        perform=_set,
        objects_of=_limit_of,
        role=Role.ADMIN,
        refusal=stores_nothing,
    ),
    ActionKind(
        name="limits.reset",
        label="Reset",
        summary="Let a limit be as in the code again.",
        arguments=LimitChoice,
        perform=_reset,
        objects_of=_limit_of,
        role=Role.ADMIN,
        refusal=stores_nothing,
    ),
)
