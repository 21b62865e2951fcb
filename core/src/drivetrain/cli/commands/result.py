"""``drivetrain result``."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from drivetrain.app.application import App
from drivetrain.app.decoding import is_group
from drivetrain.app.progress import Progress
from drivetrain.app.workflow_tree import WorkflowTree
from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.exit_codes import Exit
from drivetrain.cli.output import echo_json, json_option, one_line, printable, shown_in_lines, timestamp
from drivetrain.cli.workflow_lines import tree_lines
from drivetrain.contract import Failure, SerializationError, State, TaskRecord
from drivetrain.worker.unfinished import Unfinished

__all__ = ["result"]


@click.command()
@click.argument("task_id", metavar="ID")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="How long to wait for its end."
)
@click.option("--tree", is_flag=True, help="Show all tasks and groups of its workflow instead.")
@click.option(
    "--members",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="With --tree: how many members of each group are shown; the others are counted.",
)
@json_option
@app_options
@click.pass_context
def result(ctx: click.Context, task_id: str, *, wait: float, tree: bool, members: int, as_json: bool) -> None:
    """Show what became of a task or a group: state, worker, times, and its result or what went wrong.

    Exit code: 0 success, 1 ended otherwise, 3 unknown, 124 not ended (within --wait).
    """
    with options_of(ctx).open_app() as app:
        handle = app.result(task_id)
        if wait:
            handle.wait(wait)
        record = handle.record()
        workflow = app.operations.workflow(task_id, limit=members) if tree else None
        document = _document(app, record, handle.progress()) if workflow is None else {}
    if workflow is not None:
        _show_tree(workflow, task_id, as_json=as_json)
    elif as_json:
        echo_json(document)
    else:
        _show(document)
    ctx.exit(_exit_code(record.state))


def _show_tree(tree: WorkflowTree, task_id: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(tree), indent=2))  # `echo_json` would need too much of Python's stack
        return
    for line in tree_lines(tree, asked=task_id):
        click.echo(printable(line))


def _exit_code(state: State) -> Exit:
    if not state.terminal:
        return Exit.TIMEOUT
    return Exit.OK if state is State.SUCCESS else Exit.FAILED


def _document(app: App, record: TaskRecord, progress: Progress) -> dict[str, Any]:
    return {
        "id": record.task_id,
        "task": record.task or None,
        "state": record.state.value,
        "attempt": record.attempt,
        "worker": _worker(record),
        "starts": record.starts,
        "released_by": _released_by(record),
        "taken_over_from": _taken_over_from(app, record),
        "leased_until": timestamp(record.leased_until),
        "times": {state.value: timestamp(entry.at) for state, entry in _in_order(record)},
        "expires_at": timestamp(record.expires_at),
        "progress": {"done": progress.done, "total": progress.total, "note": progress.note},
        **(_members(app, record) if is_group(record) else {}),
        **(_ending(app, record) if record.state.terminal else _waiting(app, record)),
    }


def _in_order(record: TaskRecord) -> list[tuple[State, Any]]:
    return sorted(record.history.items(), key=lambda item: item[1].at)


def _worker(record: TaskRecord) -> str | None:
    """The worker that runs the task, or has run it; None: none, or it has given the task back."""
    entry = record.history.get(State.STARTED) or record.history.get(record.state)
    return None if entry is None or record.state is State.RECEIVED else entry.worker or None


def _released_by(record: TaskRecord) -> str | None:
    return record.history[State.RECEIVED].worker or None if record.state is State.RECEIVED else None


def _taken_over_from(app: App, record: TaskRecord) -> str | None:
    try:
        return Unfinished.load(app.runtime.payloads, record).taken_over_from or None
    except SerializationError:
        return None  # another version of drivetrain has written it


def _members(app: App, record: TaskRecord) -> dict[str, Any]:
    group = app.runtime.backend.read_groups([record.task_id])[0]
    return {} if group is None else {"members": group.size, "members_done": group.done}


def _ending(app: App, record: TaskRecord) -> dict[str, Any]:
    try:
        if record.state is State.SUCCESS:
            return {"result": app.result(record.task_id).get(timeout=app.settings.send_seconds)}
        return {"failure": _failure(app, record)}
    except SerializationError as error:
        return {"unreadable": str(error)}


def _waiting(app: App, record: TaskRecord) -> dict[str, Any]:
    report = app.result(record.task_id).waits_for()
    return {"waiting": str(report), "waits_for": report.blockers, "waits_for_more": report.more}


def _failure(app: App, record: TaskRecord) -> dict[str, Any] | None:
    if record.payload is None:
        return None
    runtime = app.runtime
    failure: Failure = runtime.registry.codec.decode(runtime.payloads.load(record.payload), Failure)
    shown = ("type", "message", "task", "task_id", "attempt", "traceback")
    return {name: getattr(failure, name) for name in shown}


def _show(document: dict[str, Any]) -> None:
    lines = {name: document[name] for name in ("id", "task", "state", "attempt", "worker")}
    if document["starts"] > 1:
        lines["starts"] = f"{document['starts']} of this attempt: earlier workers died, or lost their leases"
    if document["released_by"]:
        lines["released"] = f"by worker {document['released_by']} before its end; it waits for a worker"
    if document["taken_over_from"]:
        lines["taken over"] = f"from worker {document['taken_over_from']}, whose lease had ended"
    lines["lease ends"] = document["leased_until"]
    progress = document["progress"]
    if progress["total"] != 1:
        lines["progress"] = one_line(str(Progress(progress["done"], progress["total"], progress["note"])))
    if "members" in document:
        lines["members"] = f"{document['members_done']} of {document['members']} done"
    if waiting := document.get("waiting"):
        lines["waiting"] = printable(waiting)
    lines.update(document["times"])
    lines["kept until"] = document["expires_at"]
    if failure := document.get("failure"):
        lines["error"] = one_line(f"{failure['type']}: {failure['message']}")
        lines["of task"] = f"{failure['task']} {failure['task_id']}, attempt {failure['attempt']}"
    lines["unreadable"] = document.get("unreadable")
    for name, value in lines.items():
        if value is not None:
            click.echo(f"{name:<10}  {value}")
    if "result" in document:
        text = shown_in_lines(document["result"])
        click.echo(f"result:\n{text}" if "\n" in text else f"{'result':<10}  {text}")
    elif failure and failure["traceback"]:
        click.echo(f"\n{printable(failure['traceback'].rstrip())}")
