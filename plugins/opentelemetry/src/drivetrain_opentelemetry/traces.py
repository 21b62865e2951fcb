"""Spans, and the contexts in headers. Every span has an explicit end; those of batches are made when they are over."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token

from attrs import define
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from drivetrain import Retry
from drivetrain.contract import Interruption, Message, TaskEvent
from drivetrain_opentelemetry.attributes import (
    DESTINATION,
    ERROR_TYPE,
    INTERRUPTED,
    OPERATION,
    Service,
    Value,
    error_type,
    of_batch,
    of_task,
)
from drivetrain_opentelemetry.options import Options

__all__ = ["Traces"]

#: The largest number of links of a span that an SDK keeps by default.
_MOST_LINKS = 128
#: How many ended Process spans are remembered, to know that a run had one in this process.
_MOST_ENDED = 10_000

#: The workflow for which this context sends tasks, and the context of its first Create span.
_sending: ContextVar[tuple[str, SpanContext] | None] = ContextVar("drivetrain_opentelemetry.sending", default=None)


@define(eq=False)
class _Open:
    """A Process span that is open in this process."""

    span: Span
    #: Whether it was ended before its function, because the worker stops.
    ended: bool = False


class Traces:
    """Makes the spans of one app. Thread-safe.

    Args:
        tracer: makes spans.
        service: the broker.
        options: which spans there are.
    """

    def __init__(self, tracer: Tracer, service: Service, options: Options) -> None:
        self._tracer = tracer
        self._service = service
        self._options = options
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], _Open] = {}
        #: Task ids whose last Process span has ended in this process.
        self._ended: OrderedDict[str, None] = OrderedDict()

    # Create

    def creation_headers(self, event: TaskEvent) -> Mapping[str, str]:
        """The headers with the creation context of a task; none if the sender has given a context itself."""
        if _remote(event.headers) is not None:
            return {}
        headers: dict[str, str] = {}
        if not self._options.create_spans:
            propagate.inject(headers)
            return headers
        attributes = {**self._service.operation("create"), **of_task(event)}
        span = self._tracer.start_span(
            f"create {event.queue}", _create_parent(event.workflow), SpanKind.PRODUCER, attributes
        )
        span.end()
        propagate.inject(headers, trace.set_span_in_context(span))
        if event.workflow and not trace.get_current_span().get_span_context().is_valid:
            _remember_first(event.workflow, span.get_span_context())
        return headers

    # Send, Receive, Settle

    def batch(
        self,
        operation: Mapping[str, Value],
        messages: Sequence[Message],
        queues: Mapping[str, int],
        seconds: float,
        *,
        error: BaseException | None = None,
    ) -> None:
        """A span of an operation on messages that is over, and took ``seconds``."""
        if not self._options.batch_spans:
            return
        attributes = {**operation, **of_batch(messages, queues)}
        if error is not None:
            attributes[ERROR_TYPE] = error_type(error)
        creations = [one for message in messages[:_MOST_LINKS] if (one := _remote(message.headers)) is not None]
        end = time.time_ns()
        span = self._tracer.start_span(
            _name(operation, attributes.get(DESTINATION)),
            self._batch_parent(creations if len(messages) == 1 else ()),
            SpanKind.CLIENT,
            attributes,
            [Link(creation) for creation in creations],
            start_time=end - int(seconds * 1e9),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error_type(error)))
            span.record_exception(error)
        span.end(end)

    def _batch_parent(self, creations: Sequence[SpanContext]) -> Context | None:
        """The creation context of a single message, where it is the parent of the Process span too."""
        if not (self._options.process_parent and creations) or trace.get_current_span().get_span_context().is_valid:
            return None
        return trace.set_span_in_context(NonRecordingSpan(creations[0]))

    # Process

    @contextmanager
    def processing(self, event: TaskEvent) -> Iterator[None]:
        """A Process span around a run. It is the current span of the run, with the baggage of the sender."""
        context, links = self._process_parent(event.headers)
        span = self._tracer.start_span(
            f"process {event.queue}", context, SpanKind.CONSUMER, self._process_attributes(event), links
        )
        key, opened = (event.task_id, event.attempt), _Open(span)
        self._open[key] = opened
        token = contexts.attach(trace.set_span_in_context(span, context))
        try:
            yield
        except BaseException as error:
            _set_error(span, error)
            raise
        finally:
            self._end(key, opened)
            _leave(token, span)

    def interrupted(self, event: TaskEvent, reason: Interruption) -> None:
        """A run ends without a result: its span says so. A run in a child process may have left none: make it."""
        opened = self._open.get((event.task_id, event.attempt))
        if opened is None:
            self.ended_elsewhere(event, reason.value, interrupted=reason)
            return
        opened.span.set_attribute(INTERRUPTED, reason.value)
        if reason is Interruption.RELEASED:
            # The function may go on until the process ends. Its span would be lost then.
            opened.span.set_attribute(ERROR_TYPE, reason.value)
            opened.span.set_status(Status(StatusCode.ERROR, "the worker stopped before the task had ended"))
            self._end((event.task_id, event.attempt), opened)

    def ended_elsewhere(
        self,
        event: TaskEvent,
        kind: str,
        *,
        error: BaseException | None = None,
        interrupted: Interruption | None = None,
    ) -> None:
        """The Process span of a run whose child process was killed or has died, unless it had one in this process.

        Args:
            event: the run; it is ignored if its function had not begun.
            kind: the value of ``error.type``.
            error: what the run has raised.
            interrupted: why it ended without a result.
        """
        known = event.task_id in self._ended or (event.task_id, event.attempt) in self._open
        if known or event.started_at is None:
            return
        context, links = self._process_parent(event.headers)
        attributes = {**self._process_attributes(event), ERROR_TYPE: kind}
        if interrupted is not None:
            attributes[INTERRUPTED] = interrupted.value
        start = int(event.started_at * 1e9)
        end = time.time_ns() if event.ended_at is None else int(event.ended_at * 1e9)
        span = self._tracer.start_span(
            f"process {event.queue}", context, SpanKind.CONSUMER, attributes, links, start_time=start
        )
        span.set_status(Status(StatusCode.ERROR, kind))
        if error is not None:
            span.record_exception(error)
        span.end(max(start, end))

    def received(self, messages: Sequence[Message]) -> None:
        """Forget the ended spans of tasks that are received again: what follows is another run."""
        if self._ended:
            ids = [message.id for message in messages]
            with self._lock:
                for task_id in ids:
                    self._ended.pop(task_id, None)

    def _process_attributes(self, event: TaskEvent) -> dict[str, Value]:
        return {**self._service.operation("process"), **of_task(event)}

    def _process_parent(self, headers: Mapping[str, str]) -> tuple[Context, list[Link]]:
        """The parent context of a Process span, and its links."""
        ambient = trace.get_current_span()
        sender = propagate.extract(headers)
        creation = trace.get_current_span(sender).get_span_context()
        if not creation.is_valid or creation == ambient.get_span_context():
            return sender, []
        if not self._options.process_parent:
            return trace.set_span_in_context(ambient, sender), [Link(creation)]
        links = [Link(creation)]
        if ambient.get_span_context().is_valid:
            links.append(Link(ambient.get_span_context()))
        return sender, links

    def _end(self, key: tuple[str, int], opened: _Open) -> None:
        with self._lock:
            if opened.ended:
                return
            opened.ended = True
            if self._open.get(key) is opened:
                del self._open[key]
            self._ended[key[0]] = None
            while len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)
        opened.span.end()


def _name(operation: Mapping[str, Value], destination: Value | None) -> str:
    return f"{operation[OPERATION]} {destination}" if destination else str(operation[OPERATION])


def _remote(headers: Mapping[str, str]) -> SpanContext | None:
    """The context in headers; None: there is none."""
    if not headers:
        return None
    found = trace.get_current_span(propagate.extract(headers, Context())).get_span_context()
    return found if found.is_valid else None


def _create_parent(workflow: str) -> Context | None:
    """The parent of a Create span: the current span; or else the first Create span of the same workflow."""
    sending = _sending.get()
    if sending is None or sending[0] != workflow or trace.get_current_span().get_span_context().is_valid:
        return None
    return trace.set_span_in_context(NonRecordingSpan(sending[1]))


def _remember_first(workflow: str, created: SpanContext) -> None:
    """Remember the first Create span of a workflow: without a current span, all its tasks are in one trace."""
    sending = _sending.get()
    if sending is None or sending[0] != workflow:
        _sending.set((workflow, created))


def _set_error(span: Span, error: BaseException) -> None:
    if isinstance(error, Retry):  # the task asks for another attempt; that does not count as an error
        return
    span.set_attribute(ERROR_TYPE, error_type(error))
    span.set_status(Status(StatusCode.ERROR, error_type(error)))
    span.record_exception(error)


def _leave(token: Token[Context], span: Span) -> None:
    """Leave the context of a run. What is logged about its end is still correlated with its span.

    Each run has a context of its own, so no other task sees the span that has ended.
    """
    contexts.detach(token)
    contexts.attach(trace.set_span_in_context(NonRecordingSpan(span.get_span_context())))
