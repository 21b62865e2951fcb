"""A service that goes away and comes back (R36 to R38)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from drivetrain.contract import Backend, Durability, RunLease, ServiceUnavailable, State
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import counts, done, open_group, progress, read, record, start, transition
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.backends.value_calls import stored, write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared
from drivetrain_contract_tests.service import Service

__all__ = ["RestartChecks", "assert_unavailable", "stopped", "works"]


class RestartChecks(BackendBase):
    """What survives a restart of the service, and what calls raise while it is away."""

    @holds("R36", restarts=True)
    def test_what_is_durable_survives_a_restart(self) -> None:
        """Records, groups, members, bodies and values are as they were, for old objects and for new ones."""
        if self.declared().durability in (Durability.NONE, Durability.CACHE):
            raise NotDeclared("not declared: durability")
        namespace = self.service.namespace()
        backend = self.on(namespace)
        _fill(backend)
        before = _all_of(backend)
        with stopped(self.service):
            pass
        eventually(partial(works, backend), "the object works again", self.patience_seconds)
        for each in (backend, self.on(namespace)):
            assert _all_of(each) == before
        assert record(backend, start("runs", run="other"))[0].applied is False
        assert record(backend, transition("runs", run="r"))[0].applied

    @holds("R36", restarts=True)
    def test_the_last_write_survives_a_restart(self) -> None:
        """What was answered to is durable at that moment, not some time after."""
        if self.declared().durability in (Durability.NONE, Durability.CACHE):
            raise NotDeclared("not declared: durability")
        backend = self.fresh()
        for number in range(3):
            record(backend, transition(f"t{number}"))
            with stopped(self.service):
                pass
            eventually(partial(works, backend), "the object works again", self.patience_seconds)
            assert read(backend, f"t{number}") is not None

    @holds("R37", "R38", restarts=True)
    def test_a_service_that_is_away_is_unavailable(self) -> None:
        """Every call raises ServiceUnavailable, from the client's own error and without the password of the URL.

        An answer that nothing is known would be taken for the truth.
        """
        namespace = self.service.namespace()
        used, unused = self.on(namespace), self.on(namespace)
        _fill(used)
        with stopped(self.service):
            for backend in (used, unused):
                for name, call in _calls(backend).items():
                    assert_unavailable(self.service, name, call)

    @holds("R37", needs="notifies", restarts=True)
    def test_a_wait_raises_when_the_service_goes_away(self) -> None:
        """A wait raises when the service stops, and none begins."""
        backend = self.fresh()
        record(backend, start())
        waiting = Background(backend.wait, ["t"], timeout_seconds=2 * self.patience_seconds)
        with stopped(self.service):
            assert_unavailable(self.service, "wait, before", lambda: waiting.result(self.patience_seconds))
            assert_unavailable(self.service, "wait", lambda: backend.wait(["t"], timeout_seconds=1.0))

    @holds("R37", needs="notifies", restarts=True)
    def test_a_wait_for_values_raises_when_the_service_goes_away(self) -> None:
        """A wait raises when the service stops, and none begins. When it is back, a change wakes a wait again."""
        backend = self.fresh()
        version = stored(backend, "k")
        waiting = Background(backend.wait_values, {"k": version}, timeout_seconds=2 * self.patience_seconds)
        with stopped(self.service):
            assert_unavailable(self.service, "wait_values, before", lambda: waiting.result(self.patience_seconds))
            assert_unavailable(self.service, "wait_values", lambda: backend.wait_values({"k": 0}, timeout_seconds=1.0))
        eventually(partial(works, backend), "the object works again", self.patience_seconds)
        (found,) = backend.read_values(["k"])
        seen = {"k": 0 if found is None else found.version}
        waiting = Background(backend.wait_values, seen, timeout_seconds=2 * self.patience_seconds)
        stored(backend, "k")
        assert list(waiting.result(self.patience_seconds)) == ["k"]

    @holds("R37", restarts=True)
    def test_the_same_object_works_again(self) -> None:
        """When the service is back, objects that were used before or meanwhile work, and new ones do."""
        namespace = self.service.namespace()
        used, failed = self.on(namespace), self.on(namespace)
        used.ping()
        with stopped(self.service):
            assert_unavailable(self.service, "ping", failed.ping)
        for number, backend in enumerate((used, failed, self.on(namespace))):
            eventually(partial(works, backend), "the object works again", self.patience_seconds)
            assert record(backend, transition(f"t{number}"))[0].applied

    @holds("R38", restarts=True)
    def test_a_backend_is_made_while_the_service_is_away(self) -> None:
        """An app starts before its service does: making a backend and closing it need none."""
        namespace = self.service.namespace()
        with stopped(self.service):
            backend = self.on(namespace)
            assert backend.capabilities.stores
            self.on(namespace).close()
        eventually(partial(works, backend), "the object works", self.patience_seconds)


def assert_unavailable(service: Service, name: str, call: Callable[[], object]) -> None:
    """Assert that a call raises ServiceUnavailable while the service is stopped, without the password of its URL."""
    error = _error_of(call)
    assert error is not None, f"{name} answered while the service was away"
    assert isinstance(error, ServiceUnavailable), f"{name} raised {type(error).__name__}"
    secret = urlsplit(service.url("n")).password
    assert not secret or secret not in str(error), f"{name} shows the password"


def _error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  also what a driver lets through is looked for
        return error
    return None


@contextmanager
def stopped(service: Service) -> Iterator[None]:
    """Stop the service, and start it again afterwards."""
    with service.stopped():
        yield


def works(backend: Backend) -> bool:
    """Whether a call reaches the service."""
    try:
        backend.ping()
    except ServiceUnavailable:
        return False
    return True


def _fill(backend: Backend) -> None:
    record(backend, transition("ended", payload=b"v", retention=LONG), start("runs"))
    record(backend, transition("sent", State.PENDING, downstream=b"d"))
    open_group(backend, 3, continuation=b"next")
    progress(backend, [done(2, b"m"), done(0, failed=True)])
    backend.store_bodies({"b": b"body"})
    stored(backend, "v", b"value")


def _all_of(backend: Backend) -> object:
    records = list(backend.read(["ended", "runs", "sent"]))
    groups = list(backend.read_groups(["g"]))
    values = list(backend.read_values(["v"]))
    return records, groups, list(backend.read_members("g")), list(backend.load_bodies(["b"])), values, counts(backend)


def _calls(backend: Backend) -> dict[str, Callable[[], object]]:
    """All calls that cannot be answered without the service."""
    lease = RunLease(task_id="runs", run="r", seconds=LONG)
    return {
        "ping": backend.ping,
        "record": lambda: record(backend, transition("new")),
        "read": lambda: read(backend, "ended"),
        "renew": lambda: backend.renew([lease]),
        "shorten_retention": lambda: backend.shorten_retention(["ended"], retention_seconds=1.0),
        "forget": lambda: backend.forget(["ended"]),
        "open_groups": lambda: open_group(backend, 1, "new"),
        "complete": lambda: progress(backend, [done(1)]),
        "read_groups": lambda: backend.read_groups(["g"]),
        "read_members": lambda: backend.read_members("g"),
        "store_bodies": lambda: backend.store_bodies({"c": b""}),
        "load_bodies": lambda: backend.load_bodies(["b"]),
        "drop_bodies": lambda: backend.drop_bodies(["b"]),
        "read_values": lambda: backend.read_values(["v"]),
        "write_values": lambda: write(backend, "new", if_version=0),
        "list_values": lambda: backend.list_values("", limit=10),
        "counts": backend.counts,
    }
