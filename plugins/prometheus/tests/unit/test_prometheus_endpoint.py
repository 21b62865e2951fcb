"""The endpoint: of a process without a supervisor, and the merged one of a supervisor."""

import logging
import pickle
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from drivetrain_prometheus import Prometheus
from drivetrain_prometheus.endpoint import ProcessEndpoint, SupervisorEndpoint, encode_report, merged
from drivetrain_prometheus.options import Options
from services.processes import free_port


def read(port, path="/metrics"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        return response.read().decode()


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def report(number):
    registry = CollectorRegistry()
    Counter("sold", "Sold things.", ["process"], registry=registry).labels("ours").inc(number)
    Histogram("paid_seconds", "Payments.", buckets=(1, 2), registry=registry).observe(number)
    Gauge("empty", "A gauge that is not a number.", registry=registry).set(float("nan"))
    return encode_report(registry)


def test_reports_are_merged_by_the_number_of_the_process():
    for metric in merged([(1, report(1)), (2, report(2))]):
        assert metric.name in {"sold", "paid_seconds", "empty"}
        assert {sample.labels["process"] for sample in metric.samples} == {"1", "2"}


def test_a_supervisor_serves_all_processes_on_loopback():
    port = free_port()
    part = pickle.loads(pickle.dumps(SupervisorEndpoint("127.0.0.1", port)))
    stop = part.start(lambda: [(1, report(1)), (2, report(2))])
    found = samples(read(port))
    assert found["sold_total", (("exported_process", "ours"), ("process", "2"))] == 2
    assert found["paid_seconds_bucket", (("le", "1.0"), ("process", "1"))] == 1
    assert found["paid_seconds_bucket", (("le", "1.0"), ("process", "2"))] == 0
    assert found["drivetrain_worker_processes", ()] == 2
    assert not any(name.endswith("_created") for name, _ in found)
    stop()
    with pytest.raises(urllib.error.URLError):
        read(port)


def test_an_address_in_use_is_logged_and_harms_nothing(caplog):
    first = ProcessEndpoint("127.0.0.1", 0, CollectorRegistry())
    first.start()
    second = ProcessEndpoint("127.0.0.1", first.port, CollectorRegistry())
    with caplog.at_level(logging.ERROR, "drivetrain.prometheus"):
        second.start()
    assert second.port is None
    assert f"cannot serve metrics on 127.0.0.1:{first.port}: Address already in use; set the options" in caplog.text
    second.stop()
    first.stop()


def test_a_worker_without_a_supervisor_serves_its_own_process():
    port = free_port()
    plugin = Prometheus("shop", Options(port=port), registry=CollectorRegistry())
    status = type("Status", (), {"running_count": 1, "waiting_count": 2, "slots": {"threads": 4}})
    plugin.worker_started("w", status)
    plugin.worker_started("x", status)
    found = samples(read(port))
    assert found["drivetrain_worker_tasks_running", (("app", "shop"),)] == 2
    assert found["drivetrain_worker_slots", (("app", "shop"), ("pool", "threads"))] == 8
    plugin.worker_stopped("w")
    assert read(port)
    plugin.worker_stopped("x")
    with pytest.raises(urllib.error.URLError):
        read(port)


def test_a_worker_with_a_supervisor_does_not_serve():
    port = free_port()
    plugin = Prometheus("shop", Options(port=port), registry=CollectorRegistry())
    assert plugin.supervisor_part() == SupervisorEndpoint("127.0.0.1", port)
    plugin.worker_started("w", lambda: None)
    with pytest.raises(urllib.error.URLError):
        read(port)
    plugin.worker_stopped("w")
