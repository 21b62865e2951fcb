"""What a driver implements. A driver package imports this room and nothing else of drivetrain.

`Broker` carries messages, `Backend` remembers, a `Serializer` turns plain values into bytes, a `RetryPolicy` says how
long to wait. A driver's module makes one of them in a hook (`hookimpl`) that its entry point names. It imports nothing
of ours but this package.
"""

from drivetrain.contract.backend import Backend, Completion, Group, GroupRecord, Locks, Renewal, RunLease
from drivetrain.contract.broker import Broker, RecordingBroker
from drivetrain.contract.capabilities import BackendCapabilities, BrokerCapabilities, Durability, Hold
from drivetrain.contract.clock import Clock, SystemClock
from drivetrain.contract.errors import (
    AmbiguousDriver,
    AuthenticationFailed,
    ConfigurationError,
    DriverBroken,
    DriverNotFound,
    DrivetrainError,
    InvalidArguments,
    InvalidSignature,
    NotSupported,
    PublishFailed,
    ResultError,
    ResultTimeout,
    SerializationError,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TooLarge,
    UnknownContentType,
    UnknownResult,
    UnknownTask,
)
from drivetrain.contract.failure import Failure
from drivetrain.contract.hookspecs import DriverContext, TaskEvent, hookimpl
from drivetrain.contract.messages import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    MESSAGE_GROUP_HEADER,
    Delivery,
    Message,
    Place,
    QueueSizes,
)
from drivetrain.contract.retry import Retries, RetryPolicy, exception_name
from drivetrain.contract.serializer import Plain, Serializer
from drivetrain.contract.states import (
    Entry,
    GroupProgress,
    Member,
    Outcome,
    State,
    TaskRecord,
    Transition,
    apply,
    grants,
    starts_after,
)
from drivetrain.contract.urls import DriverUrl, redact
from drivetrain.contract.values import evolve

__all__ = [
    "DEAD_AT_HEADER",
    "DEAD_REASON_HEADER",
    "MESSAGE_GROUP_HEADER",
    "AmbiguousDriver",
    "AuthenticationFailed",
    "Backend",
    "BackendCapabilities",
    "Broker",
    "BrokerCapabilities",
    "Clock",
    "Completion",
    "ConfigurationError",
    "Delivery",
    "DriverBroken",
    "DriverContext",
    "DriverNotFound",
    "DriverUrl",
    "DrivetrainError",
    "Durability",
    "Entry",
    "Failure",
    "Group",
    "GroupProgress",
    "GroupRecord",
    "Hold",
    "InvalidArguments",
    "InvalidSignature",
    "Locks",
    "Member",
    "Message",
    "NotSupported",
    "Outcome",
    "Place",
    "Plain",
    "PublishFailed",
    "QueueSizes",
    "RecordingBroker",
    "Renewal",
    "ResultError",
    "ResultTimeout",
    "Retries",
    "RetryPolicy",
    "RunLease",
    "SerializationError",
    "Serializer",
    "ServiceError",
    "ServiceRefused",
    "ServiceUnavailable",
    "State",
    "SystemClock",
    "TaskCancelled",
    "TaskEvent",
    "TaskExpired",
    "TaskFailed",
    "TaskRecord",
    "TooLarge",
    "Transition",
    "UnknownContentType",
    "UnknownResult",
    "UnknownTask",
    "apply",
    "evolve",
    "exception_name",
    "grants",
    "hookimpl",
    "redact",
    "starts_after",
]
