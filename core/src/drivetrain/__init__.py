"""A distributed task queue in which every broker and backend is a driver, held to one tested contract.

    from drivetrain import App

    app = App("sqlite:///work.db")

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    result = add.send(1, 2)       # a worker runs it: drivetrain worker module:app
    result.get(timeout=10)        # 3

Driver authors need `drivetrain.contract` and nothing else.
"""

from drivetrain.app import retry
from drivetrain.app.application import App
from drivetrain.app.blocking import BlockingCallWarning
from drivetrain.app.blueprint import Blueprint
from drivetrain.app.client import PreparedSend
from drivetrain.app.dead_letters import DeadLetterFilter
from drivetrain.app.finding import FoundPage, FoundTask, SearchReach, TaskFilter
from drivetrain.app.locks import Lock, LockHeld
from drivetrain.app.progress import Progress
from drivetrain.app.queued_tasks import QueuedTask
from drivetrain.app.registration import BatchOptions, TaskOptions
from drivetrain.app.result import GroupResult, Result
from drivetrain.app.schedule_book import ScheduleOptions
from drivetrain.app.schedule_specs import at, cron, every
from drivetrain.app.settings import Settings
from drivetrain.app.shown_schedules import BackfillReport, RemovedSchedule, Schedule, UnknownSchedule
from drivetrain.app.task import AsyncTask, BatchTask, Task
from drivetrain.app.worker_stopping import UnknownWorker
from drivetrain.contract import (
    AlreadySent,
    AmbiguousDriver,
    AuthenticationFailed,
    ConfigurationError,
    DriverBroken,
    DriverNotFound,
    DrivetrainError,
    Failure,
    Interruption,
    InvalidArguments,
    InvalidSignature,
    Message,
    NotSupported,
    PluginContext,
    PluginFailed,
    PublishFailed,
    QueueSection,
    ResultError,
    ResultLost,
    ResultTimeout,
    Retries,
    ScheduleSpec,
    SerializationError,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
    Settlement,
    State,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskRecord,
    TooLarge,
    UnknownContentType,
    UnknownMethod,
    UnknownResult,
    UnknownTask,
    WorkerFailed,
)
from drivetrain.contract.hookspecs import TaskEvent, hookimpl
from drivetrain.worker.batches.spec import Batch
from drivetrain.worker.context import (
    Postpone,
    Retry,
    SoftTimeout,
    TaskContext,
    TaskTimeout,
    current_batch,
    current_task,
)
from drivetrain.worker.limits.specs import Concurrency, Debounce, Rate, Throttle, Unique
from drivetrain.worker.providers.marker import provided
from drivetrain.worker.schedules.scheduler import Scheduler
from drivetrain.worker.schedules.tick import Tick, TickKind
from drivetrain.worker.worker import Worker
from drivetrain.workflow.composition import chain, chord, group
from drivetrain.workflow.signature import Chain, Group, Signature, Takes, Workflow

__all__ = [
    "AlreadySent",
    "AmbiguousDriver",
    "App",
    "AsyncTask",
    "AuthenticationFailed",
    "BackfillReport",
    "Batch",
    "BatchOptions",
    "BatchTask",
    "BlockingCallWarning",
    "Blueprint",
    "Chain",
    "Concurrency",
    "ConfigurationError",
    "DeadLetterFilter",
    "Debounce",
    "DriverBroken",
    "DriverNotFound",
    "DrivetrainError",
    "Failure",
    "FoundPage",
    "FoundTask",
    "Group",
    "GroupResult",
    "Interruption",
    "InvalidArguments",
    "InvalidSignature",
    "Lock",
    "LockHeld",
    "Message",
    "NotSupported",
    "PluginContext",
    "PluginFailed",
    "Postpone",
    "PreparedSend",
    "Progress",
    "PublishFailed",
    "QueueSection",
    "QueuedTask",
    "Rate",
    "RemovedSchedule",
    "Result",
    "ResultError",
    "ResultLost",
    "ResultTimeout",
    "Retries",
    "Retry",
    "Schedule",
    "ScheduleOptions",
    "ScheduleSpec",
    "Scheduler",
    "SearchReach",
    "SerializationError",
    "ServiceError",
    "ServiceRefused",
    "ServiceUnavailable",
    "Settings",
    "Settlement",
    "Signature",
    "SoftTimeout",
    "State",
    "Takes",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskEvent",
    "TaskExpired",
    "TaskFailed",
    "TaskFilter",
    "TaskOptions",
    "TaskRecord",
    "TaskTimeout",
    "Throttle",
    "Tick",
    "TickKind",
    "TooLarge",
    "Unique",
    "UnknownContentType",
    "UnknownMethod",
    "UnknownResult",
    "UnknownSchedule",
    "UnknownTask",
    "UnknownWorker",
    "Worker",
    "WorkerFailed",
    "Workflow",
    "at",
    "chain",
    "chord",
    "cron",
    "current_batch",
    "current_task",
    "every",
    "group",
    "hookimpl",
    "provided",
    "retry",
]
