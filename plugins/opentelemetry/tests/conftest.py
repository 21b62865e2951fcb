"""Providers with exporters in memory, which know of every span that was started and not ended."""

import json
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from drivetrain.contract import hookimpl
from drivetrain_opentelemetry import OpenTelemetry
from drivetrain_opentelemetry.options import Options
from support.waiting import until


class OpenSpans(SpanProcessor):
    """The spans that have started and not ended."""

    def __init__(self):
        self.names = {}

    def on_start(self, span, parent_context=None):
        self.names[span.context.span_id] = span.name

    def on_end(self, span):
        del self.names[span.context.span_id]


class Telemetry:
    """Makes plugins, and has their spans and metrics."""

    def __init__(self):
        self.open = OpenSpans()
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(self.open)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])
        self.tracer = self.tracer_provider.get_tracer("test")

    def plugin(self, **options):
        """An object for ``App(plugins=[…])``, with options of the plugin."""
        telemetry = self

        class Maker:
            @hookimpl
            def make_plugin(self, context):
                return OpenTelemetry(
                    context.broker,
                    Options.parse(options),
                    tracer_provider=telemetry.tracer_provider,
                    meter_provider=telemetry.meter_provider,
                )

        return Maker()

    def spans(self, operation=None):
        """The ended spans; those of one operation, in the order of their starts."""
        ended = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)
        return [span for span in ended if operation in (None, span.attributes.get("messaging.operation.name"))]

    def wait_for(self, operation, number):
        """Wait until there are so many spans of an operation; these."""
        until(lambda: len(self.spans(operation)) >= number, f"{number} spans of {operation}")
        return self.spans(operation)

    def metrics(self):
        """The metrics by name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name):
        """The data points of a metric by their attributes."""
        metric = self.metrics().get(name)
        points = () if metric is None else metric.data.data_points
        return [(dict(point.attributes), point) for point in points]


@pytest.fixture
def telemetry():
    return Telemetry()


def run_of(span):
    """The task and the attempt of a span."""
    return span.attributes["drivetrain.task.name"], span.attributes["drivetrain.task.attempt"]


@pytest.fixture
def children(tmp_path, monkeypatch):
    """The module of tasks for child processes; all its processes write their spans into one file."""
    monkeypatch.setenv("OTEL_TASKS_URL", f"sqlite:///{tmp_path}/work.db")
    monkeypatch.setenv("OTEL_TASKS_SPANS", str(tmp_path / "spans"))
    home = str(Path(__file__).parent / "unit")
    monkeypatch.setenv("PYTHONPATH", home)
    monkeypatch.syspath_prepend(home)
    monkeypatch.delitem(sys.modules, "otel_tasks", raising=False)
    import otel_tasks

    def spans(operation="process"):
        path = tmp_path / "spans"
        written = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [one for one in written if one["attributes"].get("messaging.operation.name") == operation]

    otel_tasks.spans = spans
    with otel_tasks.app:
        yield otel_tasks
    monkeypatch.delitem(sys.modules, "otel_tasks", raising=False)
