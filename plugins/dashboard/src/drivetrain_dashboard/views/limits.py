"""The page of limits: how much of each is in use, which tasks hold places, and how many wait."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from drivetrain.app.limits import LimitStatus, PlaceHolder
from drivetrain.contract import State
from drivetrain.worker.limits.specs import Concurrency, Rate
from drivetrain_dashboard.views.context import ReadContext
from drivetrain_dashboard.views.page import Page, Query

__all__ = ["HolderRow", "KeyRow", "LimitRow", "LimitsPage", "LimitsQuery", "UniqueRow", "read_limits"]

#: How many keys of each limit, holders, and unique keys are shown.
_MOST_KEYS, _MOST_HOLDERS, _MOST_UNIQUE = 50, 200, 200


class LimitsQuery(Query, frozen=True, kw_only=True):
    """The page of limits has no parameters."""


class KeyRow(Struct, frozen=True, kw_only=True):
    """A key of a limit that is in use.

    Attributes:
        key: the key.
        holding: how many tasks hold a place; None: it is a rate.
        waiting: how many tasks wait for a place; None: it is a rate.
        reserved_seconds: for how many seconds from now starts are reserved; None: it limits concurrency.
    """

    key: str
    holding: int | None = None
    waiting: int | None = None
    reserved_seconds: float | None = None


class LimitRow(Struct, frozen=True, kw_only=True):
    """A limit.

    Attributes:
        name: its name, as in the code.
        kind: ``rate`` or ``concurrency``; empty: this app has none of its tasks, and no key is in use.
        limit: how much may start in each period, or how many tasks may run at once; None: unknown.
        per: for a rate: the length of a period in seconds; None: unknown.
        burst: for a rate: how much may start at once after a pause; None: unknown.
        changed: whether an operator has changed it.
        changed_by: who; empty: unknown.
        changed_at: when, in Unix seconds.
        declared: the limit in the code, in words; empty: this app has none of its tasks.
        tasks: the names of its tasks.
        keys: the keys in use, those for which most tasks wait first.
        more_keys: how many further keys are in use.
        holding: how many tasks hold a place, over all keys.
        waiting: how many tasks wait, over all keys.
    """

    name: str
    kind: str = ""
    limit: float | None = None
    per: float | None = None
    burst: float | None = None
    changed: bool = False
    changed_by: str = ""
    changed_at: float | None = None
    declared: str = ""
    tasks: tuple[str, ...] = ()
    keys: tuple[KeyRow, ...] = ()
    more_keys: int = 0
    holding: int = 0
    waiting: int = 0


class HolderRow(Struct, frozen=True, kw_only=True):
    """A task that holds a place of a concurrency limit.

    Attributes:
        limit: the name of the limit.
        key: its key.
        task_id: the id of the task.
        task: its name; empty: unknown.
        state: its state; None: it has no record.
        worker: the worker that runs it; empty: none does.
        seconds: for how long it has held the place.
        woken: whether it was woken, and has not started yet.
    """

    limit: str
    key: str
    task_id: str
    task: str = ""
    state: State | None = None
    worker: str = ""
    seconds: float = 0.0
    woken: bool = False


class UniqueRow(Struct, frozen=True, kw_only=True):
    """A task that holds a unique key.

    Attributes:
        task: the name of the task.
        key: the key.
        task_id: the id of the task that holds it.
        since: when that was sent, in Unix seconds.
        until: until when it holds the key: ``started``, ``finished`` or ``time``.
        seconds: for ``time``: how long it holds the key from now.
        state: the state of the task; None: it has no record.
    """

    task: str
    key: str
    task_id: str
    since: float
    until: str
    seconds: float | None = None
    state: State | None = None


class LimitsPage(Page, frozen=True, kw_only=True):
    """The page of limits.

    Attributes:
        limits: the limits, by name.
        holders: the tasks that hold places, those that have held them longest first.
        more_holders: how many further ones there are.
        unique: the unique keys that are held, by task and key; the first ones.
    """

    limits: tuple[LimitRow, ...] = ()
    holders: tuple[HolderRow, ...] = ()
    more_holders: int = 0
    unique: tuple[UniqueRow, ...] = ()


def read_limits(context: ReadContext, query: LimitsQuery) -> LimitsPage:  # noqa: ARG001 - as every reader
    """Read the page.

    Raises:
        ServiceError: a service could not be reached.
    """
    if not context.stores:
        return LimitsPage(at=context.now(), problem="The backend stores nothing, and limits are stored in it.")
    limits = context.app.limits
    holders = sorted(limits.holders(), key=lambda one: -one.seconds)
    return LimitsPage(
        at=context.now(),
        limits=tuple(map(_row, limits.list())),
        holders=tuple(map(_holder_row, holders[:_MOST_HOLDERS])),
        more_holders=max(0, len(holders) - _MOST_HOLDERS),
        unique=tuple(
            UniqueRow(
                task=one.task,
                key=one.key,
                task_id=one.task_id,
                since=one.since,
                until=one.until,
                seconds=one.seconds,
                state=one.state,
            )
            for one in limits.unique_holders(limit=_MOST_UNIQUE)
        ),
    )


def _row(status: LimitStatus) -> LimitRow:
    declared, change, keys = status.declared, status.change, _keys(status)
    concurrency = isinstance(declared, Concurrency) or bool(status.holding or status.waiting)
    kind = "concurrency" if concurrency else "rate" if isinstance(declared, Rate) or status.reserved_seconds else ""
    rate = declared if isinstance(declared, Rate) else None
    return LimitRow(
        name=status.name,
        kind=kind,
        limit=change.limit if change is not None else None if declared is None else declared.limit,
        per=(None if change is None else change.per) or (None if rate is None else rate.per),
        burst=(None if change is None else change.burst) or (None if rate is None else rate.burst),
        changed=change is not None,
        changed_by="" if change is None else change.by,
        changed_at=None if change is None else change.since,
        declared=_declared_text(declared),
        tasks=tuple(status.tasks),
        keys=keys[:_MOST_KEYS],
        more_keys=max(0, len(keys) - _MOST_KEYS),
        holding=sum(status.holding.values()),
        waiting=sum(status.waiting.values()),
    )


def _declared_text(declared: Rate | Concurrency | None) -> str:
    if declared is None:
        return ""
    if isinstance(declared, Concurrency):
        return f"{declared.limit} at once"
    burst = f", burst {declared.burst:g}" if declared.burst != 1 else ""
    return f"{declared.limit:g} in {declared.per:g} s{burst}"


def _keys(status: LimitStatus) -> tuple[KeyRow, ...]:
    names: Sequence[str] = sorted({*status.holding, *status.waiting, *status.reserved_seconds})
    rows = [
        KeyRow(
            key=name,
            holding=status.holding.get(name),
            waiting=status.waiting.get(name),
            reserved_seconds=status.reserved_seconds.get(name),
        )
        for name in names
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.waiting or 0), -(row.reserved_seconds or 0.0), row.key)))


def _holder_row(holder: PlaceHolder) -> HolderRow:
    return HolderRow(
        limit=holder.name,
        key=holder.key,
        task_id=holder.task_id,
        task=holder.task,
        state=holder.state,
        worker=holder.worker,
        seconds=holder.seconds,
        woken=holder.woken,
    )
