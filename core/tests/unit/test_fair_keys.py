"""`fair_by`: the keys of a queue take turns, or the task is refused."""

from __future__ import annotations

import pytest
from attrs import evolve

from drivetrain import App, Retry, chain
from drivetrain.contract import FAIR_KEY_HEADER, InvalidSignature, NotSupported, QueueSection
from drivetrain.drivers.memory.broker import MemoryBroker


@pytest.fixture
def app():
    with App(broker="memory://", backend="memory://") as made:
        yield made


def keys_of(app, queue="default"):
    shown = app.runtime.broker.peek(queue, QueueSection.READY, limit=100)
    return [message.headers.get(FAIR_KEY_HEADER) for message in shown]


class TestTheKeyOfACall:
    @pytest.mark.parametrize(
        ("fair_by", "key"),
        [
            ("tenant", "acme"),
            ("{tenant}:{region}", "acme:eu"),
            (lambda tenant, **_: tenant.upper(), "ACME"),
            ("region", "eu"),
        ],
    )
    def test_is_made_of_its_arguments(self, app, fair_by, key):
        @app.task(fair_by=fair_by)
        def export(tenant: str, region: str = "eu") -> None: ...

        export.send("acme")
        assert keys_of(app) == [key]

    def test_may_be_long(self, app):
        @app.task(fair_by="tenant")
        def export(tenant: str) -> None: ...

        for end in "ab":
            export.send("x" * 5_000 + end)
        first, second = keys_of(app)
        assert first != second
        assert len(first) < 300

    def test_is_none_without_the_option(self, app):
        @app.task(fair_by="tenant")
        def export(tenant: str) -> None: ...

        @app.task
        def other() -> None: ...

        other.send()
        assert keys_of(app) == [None]

    @pytest.mark.parametrize("fair_by", ["", "a b", 3, "tenant.id"])
    def test_that_is_none_of_the_forms_is_refused(self, app, fair_by):
        with pytest.raises(InvalidSignature, match="use the name of an argument, a template"):

            @app.task(fair_by=fair_by)
            def export(tenant: str) -> None: ...

    def test_of_an_unknown_parameter_is_refused(self, app):
        with pytest.raises(InvalidSignature, match="names tennant, and the task has other parameters: tenant"):

            @app.task(fair_by="tennant")
            def export(tenant: str) -> None: ...

    def test_whose_function_fails_stops_the_send_and_records_nothing(self, app):
        @app.task(fair_by=lambda tenant: tenant.name)
        def export(tenant: str) -> None: ...

        with pytest.raises(InvalidSignature, match="the fair_by of task .* failed with AttributeError"):
            export.send("acme")
        assert keys_of(app) == []
        assert app.runtime.backend.counts()["tasks"] == 0

    def test_is_refused_in_chunks(self, app):
        @app.task(fair_by="tenant")
        def export(tenant: str) -> None: ...

        with pytest.raises(InvalidSignature, match="fair_by"):
            export.chunks([("a",), ("b",)], 2).send()


class TestABrokerWithoutFairKeys:
    @pytest.fixture(autouse=True)
    def _lacking(self, monkeypatch):
        monkeypatch.setattr(MemoryBroker, "capabilities", evolve(MemoryBroker.capabilities, fair_keys=False))

    def test_refuses_to_send(self, app):
        @app.task(fair_by="tenant")
        def export(tenant: str) -> None: ...

        @app.task
        def other() -> None: ...

        with pytest.raises(NotSupported, match=r"export' has fair_by, and this app's broker cannot"):
            chain(other.si(), export.si("acme")).send()
        assert keys_of(app) == []
        other.send()

    def test_refuses_to_start_a_worker(self, app):
        @app.task(fair_by="tenant")
        def export(tenant: str) -> None: ...

        with pytest.raises(NotSupported, match="fair_by"), app.worker():
            pass


def test_workers_start_the_tasks_of_keys_in_turns(app):
    begun: list[str] = []

    @app.task(fair_by="tenant")
    def export(tenant: str) -> None:
        begun.append(tenant)

    results = [export.send(tenant) for tenant in ["big"] * 20 + ["small"]]
    with app.worker(concurrency=1):
        for result in results:
            result.get(timeout=60)
    assert begun.index("small") <= 1


def test_retries_and_later_tasks_of_a_chain_get_keys_of_their_own(app, monkeypatch):
    keys: list[str | None] = []
    publish = MemoryBroker.publish

    def recording(self, messages):
        keys.extend(message.headers.get(FAIR_KEY_HEADER) for message in messages)
        publish(self, messages)

    monkeypatch.setattr(MemoryBroker, "publish", recording)
    runs: list[str] = []

    @app.task(fair_by="tenant")
    def load(tenant: str) -> str:
        return f"{tenant}-loaded"

    @app.task(fair_by="tenant")
    def store(tenant: str) -> str:
        runs.append(tenant)
        if len(runs) == 1:
            raise Retry(after=0.01)
        return tenant

    with app.worker(concurrency=1):
        assert chain(load.s("acme"), store.s()).send().get(timeout=60) == "acme-loaded"
    assert runs == ["acme-loaded", "acme-loaded"]
    assert keys == ["acme", "acme-loaded", "acme-loaded"]


def test_a_key_that_fails_in_a_worker_loses_no_task(app, caplog):
    @app.task
    def load() -> int:
        return 7

    @app.task(fair_by=lambda tenant: tenant.name)
    def store(tenant: int) -> int:
        return tenant

    with app.worker():
        assert chain(load.s(), store.s()).send().get(timeout=60) == 7
    assert "its fair_by failed with AttributeError" in caplog.text
