"""Tasks for child processes. Every process writes its spans into one file, through the batch processor of the SDK."""

import os
import signal
import threading
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from drivetrain import App


class FileExporter(SpanExporter):
    def export(self, spans):
        if path := os.environ.get("OTEL_TASKS_SPANS"):  # not in a process of tests that exports when it ends
            with Path(path).open("a") as file:
                file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


if not isinstance(trace.get_tracer_provider(), TracerProvider):  # a process of tests imports this module repeatedly
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(FileExporter()))
    trace.set_tracer_provider(provider)

app = App(os.environ["OTEL_TASKS_URL"], pool="processes", concurrency=1, plugins=["opentelemetry"], lease_seconds=0.9)


@app.task
def pid() -> list[str]:
    context = trace.get_current_span().get_span_context()
    return [str(os.getpid()), trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)]


@app.task
def failing() -> None:
    raise LookupError("no")


@app.task(timeout=0.3)
def too_long() -> None:
    threading.Event().wait(60)


@app.task
def wait(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    threading.Event().wait(60)


@app.task
def die_once(path: str) -> int:
    file = Path(path)
    if not file.exists():
        file.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return 1
