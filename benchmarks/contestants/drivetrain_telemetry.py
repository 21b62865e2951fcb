"""drivetrain on Redis with the plugins for telemetry: what each costs, beside the same application without any.

The plugin is on in the sender too, so that messages carry what workers need for waiting times and links. Spans go to
the batch processor of the SDK, and from there nowhere: what a network and a collector cost is not in the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from contestants.drivetrain_on import Redis
from place import Place

__all__ = ["Off", "OpenTelemetry", "OpenTelemetryMetrics", "Prometheus"]

_PACKAGES = ("drivetrain", "drivetrain-redis", "redis", "hiredis")


class Off(Redis):
    setup: ClassVar[str] = "without a plugin"


class _Plugin(Redis):
    #: The name of the plugin, and its options.
    plugin: ClassVar[str]
    options: ClassVar[dict[str, Any]]

    def settings(self) -> Mapping[str, Any]:
        return {"plugins": [self.plugin], "plugin_options": {self.plugin: self.options}}


class Prometheus(_Plugin):
    setup: ClassVar[str] = "the plugin `prometheus`"
    packages = (*_PACKAGES, "drivetrain-prometheus", "prometheus-client")
    plugin = "prometheus"
    options: ClassVar[dict[str, Any]] = {"port": 0}


class OpenTelemetryMetrics(_Plugin):
    setup: ClassVar[str] = "the plugin `opentelemetry`, metrics only"
    packages = (*_PACKAGES, "drivetrain-opentelemetry", "opentelemetry-sdk")
    plugin = "opentelemetry"
    options: ClassVar[dict[str, Any]] = {"traces": False}

    def __init__(self, place: Place, number: int = 0) -> None:
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        super().__init__(place, number)


class OpenTelemetry(OpenTelemetryMetrics):
    setup: ClassVar[str] = "the plugin `opentelemetry`, all spans and metrics; every span is sampled, exported nowhere"
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, place: Place, number: int = 0) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

        class Nowhere(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - its name is the SDK's
                return SpanExportResult.SUCCESS

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        trace.set_tracer_provider(provider)
        super().__init__(place, number)
