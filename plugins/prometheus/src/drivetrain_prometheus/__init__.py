"""Metrics of drivetrain for Prometheus: of each worker, of senders, and of queues.

The README lists options and metrics.
"""

from __future__ import annotations

from drivetrain.contract import PluginContext, hookimpl
from drivetrain_prometheus.options import Options
from drivetrain_prometheus.plugin import Prometheus

__all__ = ["Prometheus", "make_plugin"]


@hookimpl
def make_plugin(context: PluginContext) -> Prometheus:
    """Make the plugin of an app. Does no I/O.

    Raises:
        ConfigurationError: an option is unknown or wrong; it names every fault.
    """
    return Prometheus(context.app, Options.parse(context.options))
