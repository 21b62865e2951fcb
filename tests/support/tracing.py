"""A plugin that traces as OpenTelemetry does: a header says the current span, and each run is a span."""

import json
import os
import threading
import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from attrs import frozen

from drivetrain import hookimpl


@frozen
class Span:
    """What is current: the trace, and the part of it that runs now."""

    trace: str
    id: str

    @classmethod
    def new(cls, trace=None):
        return cls(trace or uuid.uuid4().hex, uuid.uuid4().hex[:16])


current = ContextVar("tracing.current", default=None)


@contextmanager
def span(trace=None):
    """A new span is current in this block."""
    made = Span.new(trace)
    token = current.set(made)
    try:
        yield made
    finally:
        current.reset(token)


class Tracer:
    """Sends the current span along, and makes a span around each run. Notes the spans in a file, a line for each."""

    def __init__(self, path):
        self._path = Path(path)
        self._lock = threading.Lock()

    @hookimpl
    def publish_headers(self, event):
        sender = current.get() or Span.new()
        return {"traceparent": f"{sender.trace}-{sender.id}"}

    @hookimpl
    @contextmanager
    def around_run(self, event):
        if "fail" in event.headers:
            raise OSError("as it was told")
        trace, parent = event.headers["traceparent"].split("-")
        with span(trace) as made:
            note = {"pid": os.getpid(), "task": event.task, "attempt": event.attempt, "id": made.id, "parent": parent}
            try:
                yield
            except BaseException as error:
                note["error"] = type(error).__name__
                raise
            finally:
                self._note({**note, "trace": trace, "worker": event.worker, "workflow": event.workflow})

    @hookimpl
    def task_raised(self, event):
        times = (event.published_at, event.received_at, event.started_at, event.ended_at)
        self._note({"raised": event.task, "times": times, "state": event.state, "workflow": event.workflow})

    def _note(self, note):
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps(note) + "\n")

    def notes(self):
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def spans(self):
        return [note for note in self.notes() if "trace" in note]
