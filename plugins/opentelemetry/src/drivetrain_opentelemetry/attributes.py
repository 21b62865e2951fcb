"""Attributes by the OpenTelemetry conventions for messaging (1.44, in development), and those of drivetrain itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from attrs import frozen

from drivetrain.contract import Message, TaskEvent, exception_name

__all__ = [
    "ATTEMPT",
    "BATCH_COUNT",
    "DESTINATION",
    "ERROR_TYPE",
    "INTERRUPTED",
    "LIMIT",
    "OPERATION",
    "OPERATION_TYPE",
    "OUTCOME",
    "SCHEMA_URL",
    "TASK",
    "WORKFLOW",
    "Service",
    "error_type",
    "of_batch",
    "of_task",
]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

BATCH_COUNT = "messaging.batch.message_count"
DESTINATION = "messaging.destination.name"
ERROR_TYPE = "error.type"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
_CLIENT_ID = "messaging.client.id"
_CONVERSATION_ID = "messaging.message.conversation_id"
_MESSAGE_ID = "messaging.message.id"
_SYSTEM = "messaging.system"

#: The number of the attempt; the first is 0.
ATTEMPT = "drivetrain.task.attempt"
#: Why a run ended without a result: ``cancelled``, ``lease_lost``, ``released`` or ``crashed``.
INTERRUPTED = "drivetrain.run.interrupted"
#: The name of a limit, as in the code; never its key.
LIMIT = "drivetrain.limit.name"
_LIMIT_NAMES = "drivetrain.limit.names"
_LIMIT_WAIT = "drivetrain.limit.wait"
#: ``success``, ``failure``, ``retry``, ``cancelled`` or ``expired``.
OUTCOME = "drivetrain.task.outcome"
TASK = "drivetrain.task.name"
WORKFLOW = "drivetrain.workflow.id"

#: Names of messaging systems in the conventions, by the first part of a URL's scheme. Others are named by that part.
_SYSTEMS = {"amqp": "rabbitmq", "amqps": "rabbitmq", "sqs": "aws_sqs", "rediss": "redis", "unix": "redis"}
_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}

Value = str | int | float | Sequence[str]


@frozen
class Service:
    """The broker of an app, as attributes describe it."""

    attributes: Mapping[str, Value]

    @classmethod
    def of_url(cls, url: str) -> Service:
        """The service of the URL of a broker, which may be redacted. Several hosts have no address."""
        scheme, _, rest = url.partition("://")
        kind = scheme.partition("+")[0]
        attributes: dict[str, Value] = {_SYSTEM: _SYSTEMS.get(kind, kind) or "drivetrain"}
        parts = urlsplit(f"//{rest}")
        if kind == "unix" or scheme.endswith("+socket"):
            attributes["server.address"] = parts.path
        elif parts.hostname and "," not in parts.netloc:
            attributes["server.address"] = parts.hostname
            port = parts.port or _PORTS.get(scheme)
            if port is not None:
                attributes["server.port"] = port
        return cls(attributes)

    def operation(self, name: str, kind: str = "") -> dict[str, Value]:
        """The attributes of an operation; ``kind``: its type, where that has another name."""
        return {**self.attributes, OPERATION: name, OPERATION_TYPE: kind or name}


def of_batch(messages: Sequence[Message], queues: Mapping[str, int]) -> dict[str, Value]:
    """The attributes of the messages of one operation; ``queues``: how many of them each queue has."""
    attributes: dict[str, Value] = {}
    if len(queues) == 1:
        attributes[DESTINATION] = next(iter(queues))
    if len(messages) == 1:
        attributes[_MESSAGE_ID] = messages[0].id
    else:
        attributes[BATCH_COUNT] = len(messages)
    return attributes


def of_task(event: TaskEvent) -> dict[str, Value]:
    """The attributes of the message of a task."""
    attributes: dict[str, Value] = {
        DESTINATION: event.queue,
        _MESSAGE_ID: event.task_id,
        TASK: event.task,
        ATTEMPT: event.attempt,
    }
    if event.worker:
        attributes[_CLIENT_ID] = event.worker
    if event.workflow:
        attributes[WORKFLOW] = attributes[_CONVERSATION_ID] = event.workflow
    if event.limit_waits:
        attributes[_LIMIT_NAMES] = [wait.limit for wait in event.limit_waits]
        attributes[_LIMIT_WAIT] = sum(wait.seconds for wait in event.limit_waits)
    return attributes


def error_type(error: BaseException) -> str:
    """The value of ``error.type`` for an error: the name of its class, as its recorded exception has it."""
    return exception_name(type(error)).removeprefix("builtins.")
