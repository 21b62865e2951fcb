"""What is counted, under which names and labels; and that no id becomes a label."""

import pytest
from prometheus_client import CollectorRegistry

from drivetrain import App, Retry, chord, current_task
from drivetrain.contract import ConfigurationError, Interruption, LimitWait, PluginContext, State, TaskEvent
from drivetrain_prometheus import Prometheus, make_plugin
from drivetrain_prometheus.metrics import EXPORTED, OBSERVED, SERVED, STATUS
from drivetrain_prometheus.options import Options


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def app(registry):
    app = App("memory://", name="shop", plugins=[Prometheus("shop", Options(port=0), registry=registry)])

    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="total", queue="sums")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fail", dead_letter=True)
    def fail() -> None:
        raise ValueError

    @app.task(name="again")
    def again() -> None:
        if current_task().attempt == 0:
            raise Retry(after=0)

    with app:
        yield app


def values(registry, name):
    """The values of the samples of this name by their labels, without the label app."""
    return {
        tuple(text for label, text in sorted(sample.labels.items()) if label != "app"): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name and sample.value
    }


def event(**changes):
    fields = {"task_id": "1", "task": "double", "attempt": 0, "queue": "default", "headers": {}, "worker": "w"}
    return TaskEvent(**{**fields, **changes})


def test_tasks_and_messages_are_counted(app, registry):
    send = app.signature
    app.send(chord([send("double", n).set(queue="default") for n in range(3)], send("total").set(queue="sums")))
    app.send(send("fail").set(queue="default"))
    app.send(send("again").set(queue="default"))
    app.worker(queues=["default", "sums"], concurrency=1).drain()
    assert values(registry, "drivetrain_tasks_total") == {
        ("success", "default", "double"): 3,
        ("success", "sums", "total"): 1,
        ("failure", "default", "fail"): 1,
        ("retry", "default", "again"): 1,
        ("success", "default", "again"): 1,
    }
    assert values(registry, "drivetrain_messages_published_total") == {("default",): 6, ("sums",): 1}
    assert values(registry, "drivetrain_messages_received_total") == {("default",): 6, ("sums",): 1}
    assert values(registry, "drivetrain_messages_settled_total") == {
        ("default", "acknowledge"): 5,
        ("sums", "acknowledge"): 1,
        ("default", "dead_letter"): 1,
    }
    assert values(registry, "drivetrain_task_run_seconds_count")[("default", "double")] == 3
    assert values(registry, "drivetrain_task_wait_seconds_count") == {
        ("default", "double"): 3,
        ("sums", "total"): 1,
        ("default", "fail"): 1,
        ("default", "again"): 2,
    }


def test_a_delay_is_not_counted_as_waiting(registry):
    plugin = Prometheus("shop", registry=registry)
    at = {"started_at": 107.0, "ended_at": 110.0, "state": State.SUCCESS}
    plugin.tasks_ended([event(published_at=100.0, due_at=105.0, **at), event(published_at=106.0, **at), event(**at)])
    assert values(registry, "drivetrain_task_wait_seconds_sum") == {("default", "double"): 3.0}
    assert values(registry, "drivetrain_task_wait_seconds_count") == {("default", "double"): 2.0}
    assert values(registry, "drivetrain_task_run_seconds_sum") == {("default", "double"): 9.0}


def test_names_of_tasks_that_never_ran_are_counted_together(registry):
    plugin = Prometheus("shop", registry=registry)
    plugin.tasks_ended([event(task=f"unknown {n}", state=State.FAILURE) for n in range(100)])
    assert values(registry, "drivetrain_tasks_total") == {("failure", "default", ""): 100}
    plugin.tasks_ended([event(started_at=1.0, ended_at=2.0, state=State.SUCCESS), event(state=State.EXPIRED)])
    assert values(registry, "drivetrain_tasks_total")[("expired", "default", "double")] == 1


def test_what_goes_wrong_is_counted(registry):
    plugin = Prometheus("shop", registry=registry)
    plugin.run_interrupted(event(), Interruption.LEASE_LOST)
    plugin.result_discarded(event())
    assert values(registry, "drivetrain_runs_interrupted_total") == {("default", "lease_lost", "double"): 1}
    assert values(registry, "drivetrain_results_discarded_total") == {("default", "double"): 1}


def test_waits_for_limits_are_observed_by_the_name_of_the_limit(registry):
    plugin = Prometheus("shop", registry=registry)
    waits = [(LimitWait("stripe", 2.0),), (LimitWait("stripe", 40.0), LimitWait("tenant:{tenant}", 1.0)), ()]
    plugin.limited_tasks_started([event(limit_waits=one) for one in waits])
    assert values(registry, "drivetrain_limit_wait_seconds_sum") == {("stripe",): 42.0, ("tenant:{tenant}",): 1.0}
    assert values(registry, "drivetrain_limit_wait_seconds_count") == {("stripe",): 2, ("tenant:{tenant}",): 1}


def test_two_apps_of_a_process_share_a_registry(registry):
    for app in ("a", "b"):
        Prometheus(app, registry=registry).result_discarded(event())
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    discarded = [sample for sample in samples if sample.name == "drivetrain_results_discarded_total"]
    assert [sample.labels["app"] for sample in discarded] == ["a", "b"]


def test_the_status_of_workers_is_shown_while_they_work(app, registry):
    assert values(registry, "drivetrain_worker_slots") == {}
    with app.worker(concurrency=3):
        app.signature("double", 1).set(queue="default").send().get(timeout=60)
        assert values(registry, "drivetrain_worker_slots") == {("threads",): 3}
    assert values(registry, "drivetrain_worker_slots") == {}


def test_no_label_is_an_id():
    labels = {label for family in (*OBSERVED, *STATUS, *SERVED, *EXPORTED) for label in family.labels}
    assert labels == {"app", "task", "queue", "outcome", "reason", "settlement", "pool", "section", "state", "limit"}


def test_names_follow_the_rules_of_prometheus():
    families = [*OBSERVED, *STATUS, *SERVED, *EXPORTED]
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert all(name.startswith("drivetrain_") for name in names)
    assert all(family.name.endswith("_seconds") for family in families if family.kind == "histogram")
    assert all(family.text.endswith(".") for family in families)


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({"prot": 1}, ["'prot' is unknown; did you mean 'port'?"]),
        ({"colour": 1}, ["'colour' is unknown; known are host, port"]),
        (
            {"port": "9760", "host": ""},
            [
                "host is ''; it must be an address or a host name",
                "port is '9760'; it must be a whole number from 0 to 65535",
            ],
        ),
        ({"port": True}, ["port is True; it must be a whole number from 0 to 65535"]),
        ({"port": 65536}, ["port is 65536; it must be a whole number from 0 to 65535"]),
    ],
)
def test_wrong_options_are_all_named(options, faults):
    with pytest.raises(ConfigurationError) as caught:
        make_plugin(PluginContext(app="shop", broker="memory://", backend="memory://", options=options))
    assert list(caught.value.faults) == faults


def test_the_plugin_is_found_by_its_name():
    app = App("memory://", plugins=["prometheus"], plugin_options={"prometheus": {"port": 0, "host": "::1"}})
    [plugin] = app.plugins.values()
    assert isinstance(plugin, Prometheus)
    assert plugin.supervisor_part() is None, "port 0: the application serves the registry"
