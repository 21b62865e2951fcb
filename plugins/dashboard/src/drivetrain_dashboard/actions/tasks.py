"""Actions on tasks: cancel, retry, run now; on one, on a selection, or on all that match a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from attrs import frozen
from msgspec import Meta

from drivetrain import App
from drivetrain.app.bulk.facade import Bulk
from drivetrain.app.bulk.operation import Operation
from drivetrain.app.bulk.operation_record import Action
from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.background import ensure_running
from drivetrain_dashboard.actions.kinds import ActionKind, Arguments, Done, outcome_row
from drivetrain_dashboard.actions.refusals import cannot_show_delayed, stores_nothing
from drivetrain_dashboard.views.page import Id, Text
from drivetrain_dashboard.views.tasks import search_filter

__all__ = ["TASK_ACTIONS", "TaskSelection"]

#: Up to this many tasks are acted on at once; more of them in the background.
_AT_ONCE = 20


class TaskSelection(Arguments, frozen=True, kw_only=True):
    """Which tasks to act on: those of ``ids``, or all that match.

    Attributes:
        ids: the ids of the tasks.
        matching: act on all tasks that match ``q`` instead.
        q: search words, as on the page of tasks; without a state, those in a state on which the action acts.
        why: the reason, shown to other operators.
    """

    ids: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()
    matching: bool = False
    q: Text = ""
    why: Text = ""


@frozen
class _Verb:
    """An action in words, and how it is begun in the background."""

    action: Action
    label: str
    #: What has been done to a task: "cancelled".
    past: str
    begin: Callable[..., Callable[..., Operation]]


_VERBS = (
    _Verb(Action.CANCEL, "Cancel", "cancelled", lambda bulk: bulk.cancel),
    _Verb(Action.RETRY, "Retry", "retried", lambda bulk: bulk.retry),
    _Verb(Action.RUN_NOW, "Run now", "made due now", lambda bulk: bulk.run_now),
)


def _perform(verb: _Verb, app: App, chosen: TaskSelection, by: str) -> Done:
    _check(chosen)
    bulk: Bulk = app.operations.bulk
    if chosen.matching:
        where = search_filter(chosen.q, app.runtime.clock.now())
        operation = verb.begin(bulk)(where=where, by=by, why=chosen.why)
    elif len(chosen.ids) > _AT_ONCE:
        operation = verb.begin(bulk)(*chosen.ids, by=by, why=chosen.why)
    else:
        return _at_once(verb, bulk, chosen, by)
    ensure_running(app, operation)
    return Done(text=f"{verb.label}: it goes on in the background.", operation=operation.id)


def _at_once(verb: _Verb, bulk: Bulk, chosen: TaskSelection, by: str) -> Done:
    outcomes = tuple(map(outcome_row, bulk.act(verb.action, chosen.ids, by=by, why=chosen.why)))
    if len(outcomes) == 1 and outcomes[0].reason:
        return Done(text=f"Task {outcomes[0].task_id} was not {verb.past}: {outcomes[0].reason}.", outcomes=outcomes)
    numbers = {verdict: sum(one.verdict == verdict for one in outcomes) for verdict in ("done", "skipped", "failed")}
    more = [f"{numbers[verdict]} {verdict}" for verdict in ("skipped", "failed") if numbers[verdict]]
    reason = next((f": {one.reason}" for one in outcomes if one.reason), "")
    what = "1 task was" if numbers["done"] == 1 else f"{numbers['done']} tasks were"
    rest = f", {', '.join(more)}{reason}" if more else ""
    return Done(text=f"{what} {verb.past}{rest}.", outcomes=outcomes)


def _check(chosen: TaskSelection) -> None:
    if chosen.matching == bool(chosen.ids):
        raise ConfigurationError("choose tasks by their ids, or all that match a search; not both, and not none")


def _question(verb: _Verb, app: App, chosen: TaskSelection) -> str:
    _check(chosen)
    if not chosen.matching:
        return ""
    count = app.operations.bulk.count(verb.action, search_filter(chosen.q, app.runtime.clock.now()))
    number = f"{'' if count.exact else '≥ '}{count.number:,}"
    what = f"that match {chosen.q!r}" if chosen.q.strip() else "of the app"
    return f"{verb.label}: {number} tasks {what}?"


def _tasks_of(chosen: TaskSelection) -> Sequence[str]:
    return [f"tasks matching {chosen.q!r}"] if chosen.matching else chosen.ids


def _kind(verb: _Verb, name: str, summary: str) -> ActionKind:
    return ActionKind(
        name=f"tasks.{name}",
        label=verb.label,
        arguments=TaskSelection,
        question=partial(_question, verb),
        objects_of=_tasks_of,
        refusal=cannot_show_delayed if verb.action is Action.RUN_NOW else stores_nothing,
        perform=partial(_perform, verb),
        summary=summary,
    )


TASK_ACTIONS = (
    _kind(_VERBS[0], "cancel", "Cancel tasks that have not ended, with all that waits for them."),
    _kind(_VERBS[1], "retry", "Run tasks again that have failed, have expired or were cancelled."),
    _kind(_VERBS[2], "run_now", "Make delayed tasks, and tasks that wait for their next attempt, due now."),
)
