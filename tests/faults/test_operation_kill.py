"""SIGKILL of the process of an operation, at many of its calls: another one goes on, and no task is retried twice."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from drivetrain import State
from drivetrain.app.bulk.operation_record import OperationState
from drivetrain.app.bulk.takeover import OperationTakeover
from services.redis import RedisServer
from support import dying_operation
from support.dying_operation import Shop
from support.waiting import until

TASKS = 35


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.process.start()
    yield server
    server.process.kill()


@pytest.fixture
def make_shop(request, tmp_path, monkeypatch):
    """Makes a shop on a driver."""
    for module in (dying_operation.selections, dying_operation.work):
        monkeypatch.setattr(module, "PAGE", dying_operation.PAGE)
    made = []

    def make(driver):
        if driver == "sqlite":
            url = f"sqlite:///{tmp_path}/work.db?synchronous=normal"
        else:
            url = f"{request.getfixturevalue('redis').url}/0?namespace={tmp_path.name}"
        shop = Shop(url)
        shop.url = url
        made.append(shop)
        return shop

    yield make
    for shop in made:
        shop.app.close()


@pytest.mark.parametrize(("driver", "nth"), [("sqlite", 13), ("sqlite", 24), ("redis", 19)])
def test_a_retry_goes_on_where_its_process_was_killed(make_shop, driver, nth):
    _kill_and_go_on(make_shop(driver), nth)


@pytest.mark.usefixtures("at_length")
@pytest.mark.parametrize("driver", ["sqlite", "redis"])
@pytest.mark.parametrize("nth", [3, 8, 16, 22, 27, 31, 38, 45])
def test_a_retry_goes_on_wherever_its_process_was_killed(make_shop, driver, nth):
    _kill_and_go_on(make_shop(driver), nth)


def _kill_and_go_on(shop, nth):
    handles = shop.app.send_many(shop.mail.s(n) for n in range(TASKS))
    shop.drain()
    shop.healed = True
    shop.ran.clear()
    operation = shop.app.operations.bulk.retry(*[handle.id for handle in handles])
    died = subprocess.run(
        [sys.executable, dying_operation.__file__, shop.url, operation.id, str(nth)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL, "the operation had ended before"
    shop.drain()
    takeover = OperationTakeover(shop.app._services, "second")
    until(lambda: takeover.run_active() or operation.record().state.ended, "another process ends the operation")
    shop.drain()
    record = operation.record()
    assert (record.state, record.done, record.failed) == (OperationState.DONE, TASKS, 0)
    assert {handle.state() for handle in handles} == {State.SUCCESS}
    assert {handle.record().attempt for handle in handles} == {1}
    assert Counter(shop.ran) == Counter(range(TASKS))
