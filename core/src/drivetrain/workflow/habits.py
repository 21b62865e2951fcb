"""Names of methods that other task queues have, and what to write instead. For the errors of `UnknownMethod`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from drivetrain.contract import UnknownMethod

__all__ = ["APP_HABITS", "CONTEXT_HABITS", "RESULT_HABITS", "SIGNATURE_HABITS", "TASK_HABITS", "raise_unknown"]

_SEND: Final = "send(…)"
_SEND_WITH: Final = "si(…).set(delay=…, queue=…).send()"

#: What to write instead of a method of a task: Celery, Dramatiq, Taskiq, RQ, arq, Huey, Procrastinate, Django.
TASK_HABITS: Final[Mapping[str, str]] = {
    "AsyncResult": "result(task_id)",
    "aenqueue": "await task.send_async(…)",
    "apply": "a plain call: task(…)",
    "apply_async": f"{_SEND}, or with options {_SEND_WITH}",
    "call_local": "a plain call: task(…)",
    "configure": "si(…).set(queue=…, priority=…)",
    "defer": _SEND,
    "defer_async": "await task.send_async(…)",
    "delay": _SEND,
    "delay_on_commit": "send_on_commit(task.si(…)) of drivetrain-django",
    "enqueue": _SEND,
    "kicker": "si(…).set(queue=…, priority=…)",
    "kiq": "await task.send_async(…)",
    "message": "si(…)",
    "message_with_options": "si(…).set(delay=…, queue=…)",
    "retry": "raise Retry(after=…)",
    "schedule": "si(…).set(delay=…).send(), or app.schedule(…) for a timetable",
    "send_with_options": _SEND_WITH,
    "signature": "s(…)",
    "subtask": "s(…)",
    "using": "si(…).set(queue=…, priority=…)",
}

#: What to write instead of a method of a signature, chain or group.
SIGNATURE_HABITS: Final[Mapping[str, str]] = {
    "apply": "send()",
    "apply_async": "set(delay=…, queue=…).send()",
    "clone": "set(…), which returns a new one",
    "delay": "send()",
    "kiq": "send()",
    "link": "set(on_success=[…])",
    "link_error": "set(on_error=[…])",
    "replace": "return current_task().replace(workflow) in the task",
    "run": "send()",
}

#: What to write instead of a method of a result.
RESULT_HABITS: Final[Mapping[str, str]] = {
    "collect": "get()",
    "failed": "state() is State.FAILURE",
    "get_id": "id",
    "get_result": "get(timeout)",
    "is_finished": "wait(0)",
    "is_ready": "wait(0)",
    "join": "get(timeout)",
    "ready": "wait(0)",
    "result": "get(timeout)",
    "return_value": "get(timeout)",
    "revoke": "cancel()",
    "status": "state()",
    "successful": "state() is State.SUCCESS",
    "task_id": "id",
    "then": "set(on_success=[…]) of the signature",
    "wait_result": "get(timeout), or await result",
}

#: What to write instead of a part of the current task's context.
CONTEXT_HABITS: Final[Mapping[str, str]] = {
    "id": "task_id",
    "request": "the attributes of current_task() itself",
    "retries": "attempt",
    "retry": "raise Retry(after=…)",
    "update_state": "progress(done, total, note)",
}

#: What to write instead of a method of an app.
APP_HABITS: Final[Mapping[str, str]] = {
    "AsyncResult": "result(task_id)",
    "add_periodic_task": "schedule(id, task.si(…), every(…))",
    "autodiscover_tasks": "imports of the modules with tasks in the module of the app",
    "conf": "settings",
    "enqueue": "send(task.si(…))",
    "send_task": "send(app.signature(name, …))",
    "shared_task": "a Blueprint, and app.include(blueprint)",
}


def raise_unknown(what: str, name: str, habits: Mapping[str, str]) -> NoReturn:
    """Raise the error of an attribute that does not exist.

    Args:
        what: what lacks it, in words.
        name: the name of the attribute.
        habits: what to write instead, by the name in other task queues.

    Raises:
        UnknownMethod: another task queue has such an attribute.
        AttributeError: none has.
    """
    if name in habits:
        raise UnknownMethod(f"{what} has no {name!r}, which other task queues have; use {habits[name]}")
    raise AttributeError(f"{what} has no attribute {name!r}")
