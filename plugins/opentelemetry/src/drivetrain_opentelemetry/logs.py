"""Ids of traces in log records, for logs that do not go through the SDK of OpenTelemetry."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry import trace

__all__ = ["TraceIds", "add_ids_to_all_records"]


class TraceIds(logging.Filter):
    """Adds ``trace_id`` and ``span_id`` of the current span to records, in hexadecimal. Lets every record pass.

    Without a current span it adds nothing. ``drivetrain worker --log-format json`` shows both.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them."""
        _add_ids(record)
        return True


def add_ids_to_all_records() -> None:
    """Add both ids to all records of this process, as `TraceIds` does. A second call changes nothing."""
    make = logging.getLogRecordFactory()
    if getattr(make, "adds_trace_ids", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        _add_ids(record)
        return record

    factory.adds_trace_ids = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def _add_ids(record: logging.LogRecord) -> None:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
        record.span_id = trace.format_span_id(context.span_id)
