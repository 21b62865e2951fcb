"""The drivers that the tests of this folder are run against, and a clock that is turned by hand."""

import importlib
import threading
from uuid import uuid4

import pytest

from drivetrain.contract import DriverContext, Message, SystemClock


class ManualClock:
    """A clock that stands still until `advance`. Implements `drivetrain.contract.Clock`."""

    def __init__(self):
        self._turned = threading.Condition()
        self._passed = 0.0
        self._waiting = []

    def now(self):
        return 1_700_000_000.0 + self._passed

    def monotonic(self):
        return 1_000.0 + self._passed

    def wait(self, condition, timeout):
        end = None if timeout is None else self._passed + timeout
        with self._turned:
            self._waiting.append(condition)
            self._turned.notify_all()
        condition.wait()
        with self._turned:
            self._waiting.remove(condition)
        return end is None or self._passed < end

    def wait_event(self, event, timeout):
        end = None if timeout is None else self._passed + timeout
        while not event.wait(0.005):
            if end is not None and self._passed >= end:
                return False
        return True

    def advance(self, seconds):
        with self._turned:
            self._passed += seconds
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()

    def await_waiters(self, count=1):
        """Return when ``count`` threads wait on this clock."""
        with self._turned:
            assert self._turned.wait_for(lambda: len(self._waiting) >= count, timeout=10)


class Service:
    """One place that a driver keeps things in; every driver object made of it sees the same."""

    def __init__(self, scheme, url):
        self.scheme = scheme
        self.url = url
        self._driver = importlib.import_module(f"drivetrain.drivers.{scheme}")
        self._made = []

    def broker(self, clock=None):
        return self._keep(self._driver.make_broker(self.url, DriverContext(clock=clock or SystemClock())))

    def backend(self, clock=None):
        return self._keep(self._driver.make_backend(self.url, DriverContext(clock=clock or SystemClock())))

    def _keep(self, made):
        self._made.append(made)
        return made

    def close(self):
        for made in self._made:
            made.close()


class Background:
    """A call in another thread."""

    def __init__(self, call, *args, **kwargs):
        self._answer = None
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(call, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, call, args, kwargs):
        try:
            self._answer = call(*args, **kwargs)
        except BaseException as error:
            self._error = error

    def ended(self, timeout=0.0):
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self, timeout=10.0):
        assert self.ended(timeout), "the call did not return"
        if self._error is not None:
            raise self._error
        return self._answer


def run_together(*calls):
    """Run the calls in threads that start at the same instant; their answers."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait(60)
        return call()

    running = [Background(run, call) for call in calls]
    return [each.result(30) for each in running]


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def background():
    return Background


@pytest.fixture
def together():
    return run_together


@pytest.fixture(params=["memory", "sqlite"])
def service(request, tmp_path):
    url = f"memory://{uuid4().hex}" if request.param == "memory" else f"sqlite:///{tmp_path}/service.db"
    service = Service(request.param, url)
    yield service
    service.close()


@pytest.fixture
def broker(service, clock):
    """A broker whose clock stands still."""
    return service.broker(clock)


@pytest.fixture
def backend(service, clock):
    """A backend whose clock stands still."""
    return service.backend(clock)


@pytest.fixture
def message():
    """Makes messages; what is not said does not matter."""

    def make(message_id="m", queue="q", **fields):
        return Message(**{"id": message_id, "queue": queue, "body": b"body", **fields})

    return make


@pytest.fixture
def take():
    """Receives; what is not said does not matter."""

    def receive(broker, *queues, limit=100, wait=0.0, hold=30.0):
        return list(broker.receive(queues or ["q"], limit=limit, wait_seconds=wait, hold_seconds=hold))

    return receive
