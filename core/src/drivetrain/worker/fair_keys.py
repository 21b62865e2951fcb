"""Fair keys: which calls of a queue share a line, so that the lines take turns; see ``fair_by`` of ``@app.task``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from drivetrain.contract import BrokerCapabilities, InvalidSignature, NotSupported
from drivetrain.worker.limits.keys import CallKey, call_key
from drivetrain.worker.logs import get_logger
from drivetrain.worker.registry import Registry, TaskDefinition
from drivetrain.workflow.frames import Call

__all__ = ["bind_fair_by", "check_fair_keys", "fair_key", "required_fair_key"]

logger = get_logger("drivetrain.worker")

#: The longest key that a message carries as it is. Of a longer one it carries the beginning and a hash.
_LONGEST_KEY = 200


def bind_fair_by(task: str, function: Callable[..., Any], fair_by: object) -> CallKey | None:
    """What makes the fair keys of a task; None: its calls have none.

    Args:
        task: the name of the task.
        function: the function of the task.
        fair_by: the name of an argument, a template like ``"{tenant}:{region}"``, or a function of the arguments.

    Raises:
        InvalidSignature: it is none of these, or names a parameter that the task does not have.
    """
    if fair_by is None:
        return None
    if callable(fair_by):
        return CallKey("", constant=False, make=lambda *args, **kwargs: f"{fair_by(*args, **kwargs)}")
    if not isinstance(fair_by, str) or not ("{" in fair_by or fair_by.isidentifier()):
        raise InvalidSignature(
            f"task {task!r} has fair_by={fair_by!r}; use the name of an argument, a template like "
            "'{tenant}:{region}', or a function of its arguments"
        )
    return call_key(task, function, fair_by if "{" in fair_by else f"{{{fair_by}}}", what="fair_by")


def required_fair_key(definition: TaskDefinition, call: Call) -> str | None:
    """The fair key of a call; None: its task has no ``fair_by``.

    Raises what the function of the application raises, and what wrong arguments raise.
    """
    if definition.fair_by is None:
        return None
    key = definition.fair_by.of(definition.binding.decode_call(call.args, call.kwargs))
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{key[:_LONGEST_KEY]}#{blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def fair_key(registry: Registry, call: Call) -> str | None:
    """The fair key of a call whose task may be unknown here; None: it has none, or none can be made.

    A call without a key is delivered all the same: it shares the line of those without one.
    """
    definition = registry.get(call.task)
    if definition is None:
        return None
    try:
        return required_fair_key(definition, call)
    except Exception as error:  # noqa: BLE001 - a key only decides the order, so the call is sent without one
        logger.warning(
            "task %s (%s): its fair_by failed with %s: %s; it waits in the line of tasks without a key",
            *(call.task, call.id, type(error).__name__, error),
        )
        return None


def check_fair_keys(definitions: Iterable[TaskDefinition], capabilities: BrokerCapabilities) -> None:
    """Refuse tasks with ``fair_by`` where the broker cannot let keys take turns.

    Raises:
        NotSupported: it cannot.
    """
    if capabilities.fair_keys:
        return
    for definition in definitions:
        if definition.fair_by is not None:
            raise NotSupported(
                f"task {definition.name!r} has fair_by, and this app's broker cannot let the keys of a queue take "
                "turns; use a broker that declares fair_keys (`drivetrain drivers` lists the installed ones), or "
                "remove fair_by and give large tenants queues of their own"
            )
