"""A fresh namespace of a pair, with apps and workers on it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from drivetrain import App, Result
from drivetrain.contract import (
    Backend,
    Broker,
    Clock,
    DriverContext,
    QueueSection,
    ResultTimeout,
    ServiceError,
    State,
    TaskFailed,
    TaskRecord,
    hookimpl,
)
from drivetrain.worker.prefetch import Prefetch
from drivetrain.worker.worker import Worker
from drivetrain.workflow.signature import Signature
from drivetrain_contract_tests.workflows import tasks
from drivetrain_contract_tests.workflows.faults import Faults, Proxy
from drivetrain_contract_tests.workflows.interpreter import FAILED
from drivetrain_contract_tests.workflows.pair import Pair
from drivetrain_contract_tests.workflows.run_log import RunLog, until
from drivetrain_contract_tests.workflows.tasks import Gates

__all__ = ["LOST", "QUEUE", "AppHarness", "Wiring", "call"]

#: The queue that everything goes through.
QUEUE = "default"
#: Nobody claims this scheme, so apps ask the plugin that they are given.
_SCHEME = "drivetrain-contract-pair"
#: What stands for a result that does not come.
LOST = "lost"
#: Where something has been waited for in vain, all else is waited for no longer than this, in seconds.
_SPENT_SECONDS = 0.5
#: How long nothing has moved where nothing moves any more, in seconds.
_IDLE_SECONDS = 0.5
#: Receiving waits no longer than this, so that workers stop quickly.
_RECEIVE_SECONDS = 0.1


class Wiring:
    """A plugin by which an app uses the drivers of a pair."""

    def __init__(
        self, pair: Pair, namespace: str, faults: Faults, broker: Mapping[str, Any], backend: Mapping[str, Any]
    ) -> None:
        self._pair = pair
        self._namespace = namespace
        self._faults = faults
        self._changes = broker, backend
        #: What was made, without the proxies.
        self._made: list[Broker | Backend] = []

    @hookimpl
    def make_broker(self, url: str, context: DriverContext) -> Any:
        """See `drivetrain.contract.hookspecs.DriverHooks`."""
        if not url.startswith(_SCHEME):
            return None
        broker = self._pair.broker.broker(self._namespace, context.clock)
        self._made.append(broker)
        wait = min(broker.capabilities.receive_wait_seconds, _RECEIVE_SECONDS)
        return Proxy(broker, self._faults, **{"receive_wait_seconds": wait, **self._changes[0]})

    @hookimpl
    def make_backend(self, url: str, context: DriverContext) -> Any:
        """See `drivetrain.contract.hookspecs.DriverHooks`."""
        if not url.startswith(_SCHEME):
            return None
        backend = self._pair.backend.backend(self._namespace, context.clock)
        self._made.append(backend)
        return Proxy(backend, self._faults, **self._changes[1])

    def disconnect(self) -> None:
        """Close every connection, as the death of the process would."""
        for driver in self._made:
            with suppress(ServiceError):
                driver.close()


class _Greedy(Prefetch):
    """Holds more than can run at once, however long tasks take."""

    def window(self, stalled_seconds: float) -> int:  # noqa: ARG002  named by its base
        """See `Prefetch.window`."""
        return self.slots + 10


class AppHarness:
    """Where workflows are played. Everything that is made here ends with it."""

    def __init__(self, pair: Pair, *, lease_seconds: float, patience_seconds: float) -> None:
        self.pair = pair
        self.namespace = pair.broker.namespace()
        self.patience_seconds = patience_seconds
        self._lease_seconds = lease_seconds
        self.run_log, self.gates = RunLog(), Gates()
        self._numbers = itertools.count(1)
        self._apps: list[App] = []
        self._faults: list[Faults] = []
        self._workers: list[Worker] = []
        #: To look at things with; they also keep alive what lives no longer than its users.
        self.broker = pair.broker.broker(self.namespace)
        self.backend = pair.backend.backend(self.namespace)
        #: A broker that cannot count is taken for empty when no message has moved for this time (seconds).
        self._idle = _IDLE_SECONDS + self.broker.capabilities.delay_resolution_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gates.open_all()
        for worker in self._workers:
            worker.stop(grace_seconds=0.0 if error else 5.0, wait=False)
        for worker in self._workers:
            worker.stop()
        everything: list[App | Broker | Backend] = [*self._apps, self.broker, self.backend]
        for closing in everything:
            with suppress(ServiceError):
                closing.close()

    def app(
        self,
        *,
        clock: Clock | None = None,
        faults: Faults | None = None,
        broker: Mapping[str, Any] | None = None,
        backend: Mapping[str, Any] | None = None,
        plugins: tuple[object, ...] = (),
        with_tasks: bool = True,
        retry_seconds: float = 0.0,
        **settings: Any,
    ) -> App:
        """An app on this namespace.

        Args:
            clock: its clock.
            faults: how its drivers fail.
            broker: what its broker declares besides.
            backend: what its backend declares besides.
            plugins: observers, besides the run_log.
            with_tasks: whether it knows the tasks.
            retry_seconds: the delay of retries.
            settings: any of `drivetrain.Settings`.
        """
        self._faults.append(faults or Faults())
        wiring = Wiring(self.pair, self.namespace, self._faults[-1], broker or {}, backend or {})
        url = f"{_SCHEME}://{self.namespace}"
        known = {
            "lease_seconds": self._lease_seconds,
            "concurrency": 4,
            "poll_seconds": 0.02,
            "schedules": False,
            "send_seconds": self.patience_seconds,
            **settings,
        }
        app = App(url, url, clock=clock, plugins=[wiring, self.run_log, *plugins], **known)
        if with_tasks:
            tasks.register(app, self.run_log, self.gates, retry_seconds=retry_seconds)
        self._apps.append(app)
        return app

    def worker(self, app: App, **options: Any) -> Worker:
        """A worker that works, until the harness ends."""
        worker = app.worker(**options).start()
        self._workers.append(worker)
        return worker

    def hoarder(self, app: App) -> Worker:
        """A worker that takes more than it can run at once, and keeps it until it has room."""
        worker = app.worker()
        load = worker._flow_control
        load.prefetch.update([(pool, _Greedy(prefetch.slots, 0)) for pool, prefetch in load.prefetch.items()])
        load.stuck = lambda pool: False  # type: ignore[method-assign]  # noqa: ARG005  named by its base
        self._workers.append(worker.start())
        return worker

    def working(self, **options: Any) -> App:
        """An app with a worker; see `app`."""
        app = self.app(**options)
        self.worker(app)
        return app

    def disconnect(self, app: App) -> None:
        """Close every connection of an app, as the death of its process would."""
        for plugin in app.settings.plugins:
            if isinstance(plugin, Wiring):
                plugin.disconnect()

    def label(self) -> str:
        """A label that was never used before, within this harness."""
        return f"t{next(self._numbers)}"

    # Looking

    def outcome(self, handle: Result[Any]) -> Any:
        """The value of a handle; FAILED if it has failed, LOST if it does not end."""
        try:
            return tasks.plain(handle.get(timeout=self.patience_seconds))
        except TaskFailed:
            return FAILED
        except ResultTimeout:
            self.patience_seconds = min(self.patience_seconds, _SPENT_SECONDS)
            return LOST

    def unfinished(self, handle: Result[Any]) -> int:
        """How many parts of a workflow have not ended, and do not while there is patience."""
        with suppress(AssertionError):
            until(lambda: not self._open(handle), "all ends", self.patience_seconds)
        return self._open(handle)

    def _open(self, handle: Result[Any]) -> int:
        return sum(one is None or not one.state.terminal for one in self.records(handle))

    def records(self, handle: Result[Any]) -> list[TaskRecord | None]:
        """The records of everything in a workflow."""
        return list(self.backend.read(handle._parts))

    def started(self, handle: Result[Any]) -> bool:
        """Whether the last task of a workflow is recorded as started."""
        (record,) = self.backend.read([handle.id])
        return record is not None and record.state is State.STARTED

    def wait_ran(self, label: str, times: int = 1) -> None:
        """Wait until a task has run."""
        enough = self.run_log.wait_for(lambda ran: ran[label] >= times, self.patience_seconds)
        assert enough, f"{label} ran {self.run_log.ran()[label]} times, not {times}"

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until ``condition()`` is true."""
        until(condition, what, self.patience_seconds)

    def quiet(self) -> None:
        """Wait until no message is left, but for dead ones."""
        until(self.empty, "every message is settled", self.patience_seconds)

    def empty(self) -> bool:
        """Whether no message is left, but for dead ones; as far as the broker can tell."""
        sizes = self.broker.sizes([QUEUE])[QUEUE]
        if sizes.ready or sizes.delayed or sizes.in_flight:
            return False
        counts = self.broker.capabilities.exact_sizes and None not in {sizes.ready, sizes.delayed, sizes.in_flight}
        return counts or time.monotonic() - max((faults.busy_at for faults in self._faults), default=0.0) > self._idle

    def dead(self, *queues: str) -> dict[str, Mapping[str, str]]:
        """The headers of the dead letters of queues (none: of the default queue), by the id of the message."""
        letters = [self.broker.peek(queue, QueueSection.DEAD, limit=100) for queue in queues or (QUEUE,)]
        return {message.id: message.headers for some in letters for message in some}

    def ended(self, task_id: str) -> bool:
        """Whether a task has ended, in any way."""
        (record,) = self.backend.read([task_id])
        return record is not None and record.state.terminal


def call(task: str, *args: Any, label: str, **options: Any) -> Signature[Any]:
    """A signature of one of the tasks."""
    return Signature(task=task, args=args, kwargs={"label": label}).set(**options)
