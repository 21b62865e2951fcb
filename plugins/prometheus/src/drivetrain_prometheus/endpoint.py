"""Serves metrics over HTTP: those of this process, or those of all processes of a worker.

A worker process reports its whole registry to the supervisor. There each sample gets the label ``process``: the number
of the process. A process that replaces a crashed one has the same number, so its counters begin at 0 again. The
function ``rate`` of Prometheus expects that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from wsgiref.simple_server import WSGIServer

from attrs import frozen
from msgspec import Struct, msgpack
from prometheus_client import CollectorRegistry, Metric, start_http_server

from drivetrain_prometheus.metrics import SERVED

__all__ = ["ProcessEndpoint", "SupervisorEndpoint", "encode_report", "merged"]

logger = logging.getLogger("drivetrain.prometheus")

Reports = Callable[[], Sequence[tuple[int, bytes]]]

#: The label with the number of a worker process. A label of the application with that name gets the second name.
_PROCESS, _EXPORTED_PROCESS = "process", "exported_process"


class _Family(Struct, array_like=True):
    name: str
    text: str
    kind: str
    unit: str
    samples: list[tuple[str, dict[str, str], float]]


def encode_report(registry: CollectorRegistry) -> bytes:
    """The metrics of a registry, for a supervisor."""
    families = [
        _Family(
            metric.name,
            metric.documentation,
            metric.type,
            metric.unit,
            [(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]
    return msgpack.encode(families)


def merged(reports: Sequence[tuple[int, bytes]]) -> Iterator[Metric]:
    """The metrics of all processes, each sample with the number of its process."""
    metrics: dict[str, Metric] = {}
    for number, report in reports:
        for family in msgpack.decode(report, type=list[_Family]):
            metric = metrics.get(family.name)
            if metric is None:
                metric = metrics[family.name] = _metric(family)
            for name, labels, value in family.samples:
                if not name.endswith("_created"):  # gauges in the text format, which double the number of series
                    metric.add_sample(name, _labelled(labels, number), value)
    yield from metrics.values()


def _metric(family: _Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind)
    metric.unit = family.unit
    return metric


def _labelled(labels: Mapping[str, str], number: int) -> dict[str, str]:
    given = {_EXPORTED_PROCESS if name == _PROCESS else name: text for name, text in labels.items()}
    return {**given, _PROCESS: str(number)}


class ProcessEndpoint:
    """Serves the metrics of a registry, in threads of this process."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._server: WSGIServer | None = None

    def start(self) -> None:
        """Start it. Where the address is in use, an error is logged: metrics must not keep a worker from working."""
        try:
            self._server, _ = start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            logger.error(  # noqa: TRY400 - the message says what is wrong
                "cannot serve metrics on %s:%d: %s; set the options host and port of the plugin prometheus",
                self._host,
                self._port,
                error.strerror or error,
            )
        else:
            logger.info("serving metrics on http://%s:%d/metrics", self._host, self._server.server_port)

    @property
    def port(self) -> int | None:
        """The port that it listens on; None: it does not."""
        return None if self._server is None else self._server.server_port

    def stop(self) -> None:
        """Stop it, and free the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@frozen
class SupervisorEndpoint:
    """Serves the metrics of all processes of a worker; see `drivetrain.contract.SupervisorPart`."""

    host: str
    port: int

    def start(self, reports: Reports) -> Callable[[], None]:
        """Serve them, in threads of the supervisor; the function that stops it."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Reported(reports))
        endpoint = ProcessEndpoint(self.host, self.port, registry)
        endpoint.start()
        return endpoint.stop


class _Reported:
    """Collects the reports of all processes for each scrape."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def describe(self) -> Sequence[Metric]:
        """Nothing: the reports are not known before."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics of all processes, and the number of processes."""
        reports = self._reports()
        yield from merged(reports)
        [family] = SERVED
        processes = family.metric()
        processes.add_sample(family.name, {}, len(reports))
        yield processes
