"""The plugin: what the hooks of drivetrain report becomes spans and measurements."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from drivetrain import Retry
from drivetrain.contract import Interruption, Message, Settlement, TaskEvent, hookimpl
from drivetrain_opentelemetry.attributes import SCHEMA_URL, Service, Value, error_type
from drivetrain_opentelemetry.logs import add_ids_to_all_records
from drivetrain_opentelemetry.metrics import Metrics
from drivetrain_opentelemetry.options import Options
from drivetrain_opentelemetry.traces import Traces

__all__ = ["OpenTelemetry"]

logger = logging.getLogger("drivetrain.opentelemetry")

_NAME = "drivetrain_opentelemetry"
#: How long a worker that stops waits until its spans are exported, in seconds.
_FLUSH_SECONDS = 5.0


class OpenTelemetry:
    """Traces and measures one app. Thread-safe.

    Args:
        broker: the URL of the broker, which may be redacted.
        options: which spans and metrics there are.
        tracer_provider: makes the tracer; None: the global one.
        meter_provider: makes the meter; None: the global one.
    """

    def __init__(
        self,
        broker: str,
        options: Options | None = None,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        options = options or Options()
        service = Service.of_url(broker)
        self._send, self._receive = service.operation("send"), service.operation("receive")
        self._settlements = {one: service.operation(one.value, "settle") for one in Settlement}
        self._providers = (tracer_provider, meter_provider)
        self._traces: Traces | None = None
        self._metrics: Metrics | None = None
        if options.traces:
            tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider, schema_url=SCHEMA_URL)
            self._traces = Traces(tracer, service, options)
        if options.metrics:
            meter = metrics.get_meter(_NAME, meter_provider=meter_provider, schema_url=SCHEMA_URL)
            self._metrics = Metrics(meter, service)
        if options.log_ids:
            add_ids_to_all_records()
        #: Whether this process receives messages. A child process does not; it may be killed at any time.
        self._receives = False
        self._flusher: _Flusher | None = None
        self._lock = threading.Lock()

    # Sending

    @hookimpl
    def publish_headers(self, event: TaskEvent) -> Mapping[str, str] | None:
        """The creation context of a task."""
        return None if self._traces is None else self._traces.creation_headers(event)

    @hookimpl
    def after_publish(self, messages: Sequence[Message], queues: Mapping[str, int], seconds: float) -> None:
        """Published messages."""
        if messages:
            self._operation(self._send, messages, queues, seconds)

    @hookimpl
    def publish_failed(
        self, messages: Sequence[Message], queues: Mapping[str, int], error: BaseException, seconds: float
    ) -> None:
        """Messages that were not published."""
        self._operation(self._send, messages, queues, seconds, error)

    # Receiving and settling

    @hookimpl
    def messages_received(self, messages: Sequence[Message], queues: Mapping[str, int], seconds: float) -> None:
        """Received messages."""
        self._receives = True
        if self._traces is not None:
            self._traces.received(messages)
        self._operation(self._receive, messages, queues, seconds)

    @hookimpl
    def messages_settled(
        self, messages: Sequence[Message], queues: Mapping[str, int], settlement: Settlement, seconds: float
    ) -> None:
        """Settled messages."""
        self._operation(self._settlements[settlement], messages, queues, seconds)

    def _operation(
        self,
        operation: Mapping[str, Value],
        messages: Sequence[Message],
        queues: Mapping[str, int],
        seconds: float,
        error: BaseException | None = None,
    ) -> None:
        if self._traces is not None:
            self._traces.batch(operation, messages, queues, seconds, error=error)
        if self._metrics is not None:
            self._metrics.operation(operation, queues, seconds, error=error)

    # Runs

    @hookimpl
    def around_run(self, event: TaskEvent) -> AbstractContextManager[None]:
        """A run: its span, and its duration."""
        return self._run(event)

    @contextmanager
    def _run(self, event: TaskEvent) -> Iterator[None]:
        began = time.perf_counter()
        failed = ""
        try:
            with nullcontext() if self._traces is None else self._traces.processing(event):
                yield
        except BaseException as error:
            failed = "" if isinstance(error, Retry) else error_type(error)
            raise
        finally:
            if self._metrics is not None:
                self._metrics.processed(event, time.perf_counter() - began, failed)
            if not self._receives:
                self._flush_soon()

    @hookimpl
    def task_raised(self, event: TaskEvent, error: BaseException) -> None:
        """An error; the span of a run whose child process was killed at its time limit is made here."""
        if self._traces is not None:
            self._traces.ended_elsewhere(event, error_type(error), error=error)

    @hookimpl
    def limited_tasks_started(self, events: Sequence[TaskEvent]) -> None:
        """Starts of attempts that have waited for limits."""
        if self._metrics is not None:
            self._metrics.limited(events)

    @hookimpl
    def tasks_ended(self, events: Sequence[TaskEvent]) -> None:
        """Ends of attempts."""
        if self._metrics is not None:
            self._metrics.ended(events)

    @hookimpl
    def run_interrupted(self, event: TaskEvent, reason: Interruption) -> None:
        """A run without a result."""
        if self._traces is not None:
            self._traces.interrupted(event, reason)
        if self._metrics is not None:
            self._metrics.interrupted(event, reason)

    @hookimpl
    def result_discarded(self, event: TaskEvent) -> None:
        """A result that does not count."""
        if self._metrics is not None:
            self._metrics.discarded(event)

    # Exporting

    @hookimpl
    def worker_started(self) -> None:
        """This process is a worker."""
        self._receives = True

    @hookimpl
    def worker_stopped(self) -> None:
        """Export what is left: the process may end without its exit handlers."""
        self._flush()

    def _flush_soon(self) -> None:
        with self._lock:
            if self._flusher is None:
                self._flusher = _Flusher(self._flush)
        self._flusher.request()

    def _flush(self) -> None:
        tracer_provider, meter_provider = self._providers
        providers = (tracer_provider or trace.get_tracer_provider(), meter_provider or metrics.get_meter_provider())
        for provider in providers:
            flush = getattr(provider, "force_flush", None)  # of the SDK; the API has none
            if flush is not None:
                flush(int(_FLUSH_SECONDS * 1000))


class _Flusher:
    """Exports in a thread of its own, in a child process: its worker kills it when it stops."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._requested = threading.Event()
        threading.Thread(target=self._run, name="drivetrain-flush", daemon=True).start()

    def request(self) -> None:
        """Export soon. Does not wait."""
        self._requested.set()

    def _run(self) -> None:
        while self._requested.wait():
            self._requested.clear()
            try:
                self._flush()
            except Exception:  # an exporter may raise anything; the next run asks again
                logger.warning("spans and metrics of a child process cannot be exported", exc_info=True)
