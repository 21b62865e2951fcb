"""Traces and metrics of drivetrain, by the OpenTelemetry conventions for messaging.

The README lists options, spans and metrics.
"""

from __future__ import annotations

from drivetrain.contract import PluginContext, hookimpl
from drivetrain_opentelemetry.logs import TraceIds
from drivetrain_opentelemetry.options import Options
from drivetrain_opentelemetry.plugin import OpenTelemetry

__all__ = ["OpenTelemetry", "TraceIds", "make_plugin"]


@hookimpl
def make_plugin(context: PluginContext) -> OpenTelemetry:
    """Make the plugin of an app, for the global providers of traces and metrics. Does no I/O.

    Raises:
        ConfigurationError: an option is unknown or wrong; it names every fault.
    """
    return OpenTelemetry(context.broker, Options.parse(context.options))
