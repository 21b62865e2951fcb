"""The options of the plugin: the setting ``plugin_options`` has them under ``opentelemetry``."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from attrs import fields_dict, frozen

from drivetrain.contract import ConfigurationError

__all__ = ["Options"]


@frozen(kw_only=True)
class Options:
    """The options of the plugin, each true or false.

    Attributes:
        traces: whether there are spans, and contexts in headers.
        metrics: whether there are metrics.
        create_spans: whether each task that is sent has a Create span. Without, its creation context is the current
            context of the sender.
        batch_spans: whether there are Send, Receive and Settle spans, one for each batch.
        process_parent: whether the creation context of a task is the parent of its Process spans. Without, they are
            roots of traces of their own, and link to it.
        log_ids: whether log records get the ids of the current trace and span, as `TraceIds` adds them.
    """

    traces: bool = True
    metrics: bool = True
    create_spans: bool = True
    batch_spans: bool = True
    process_parent: bool = False
    log_ids: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Options:
        """The options.

        Raises:
            ConfigurationError: one is unknown or wrong; it names every fault.
        """
        faults = [fault for name, value in given.items() if (fault := _fault(name, value))]
        if faults:
            raise ConfigurationError("the options of the plugin opentelemetry are wrong:", faults)
        return cls(**given)


def _fault(name: str, value: object) -> str:
    known = list(fields_dict(Options))
    if name in known:
        return "" if isinstance(value, bool) else f"{name} is {value!r}; it must be true or false"
    near = get_close_matches(name, known, n=1)
    return f"{name!r} is unknown" + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")
