"""Tasks that kill their process: no other task fails because of them, in no pool and on no pair of drivers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain import App, Signature, TaskFailed

SUPPORT = Path(__file__).parents[1] / "support"
POOLS = ("thread", "loop", "processes")
#: How many tasks that do no harm there are for each pool: some that take long, and very many that do not.
SLOW, QUICK = 20, 320


@pytest.fixture
def place(request, tmp_path):
    """A URL that serves as broker and backend."""
    if request.param == "sqlite" and request.config.getoption("--contract-profile") == "quick":
        pytest.skip("takes a minute: run by make test CONTRACT=default")
    if request.param == "redis":
        from services.redis import RedisServer

        server = RedisServer(tmp_path / "redis", durable=False)
        server.process.start()
        yield server.url
        server.process.kill()
    else:
        yield f"sqlite:///{tmp_path}/work.db?synchronous=normal"


@pytest.fixture
def sender(place):
    """An app on ``place`` that knows no tasks, and so checks no arguments."""
    with App(place, place, send_seconds=60.0) as app:
        yield app


@pytest.fixture
def workers(sender, place):
    """Two worker processes of the module `support.killers`, until the end."""
    environment = {**os.environ, "KILLERS_URL": place, "PYTHONPATH": str(SUPPORT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "drivetrain.cli", "worker", "killers:app", "--processes", "2"],
        env=environment,
        start_new_session=True,
    )
    yield process
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def sign(task, *args):
    return Signature(task=f"killers.{task}", args=args)


def outcome(handle):
    """The value of a task, or the type of its failure."""
    try:
        return handle.get(timeout=300)
    except TaskFailed as error:
        return error.failure.type


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", ["sqlite", "redis"], indirect=True)
@pytest.mark.usefixtures("workers")
def test_tasks_that_run_next_to_killers_are_not_dead_lettered(sender):
    deadly = [sign(f"kill_in_{pool}", how) for pool in POOLS for how in ("exit 1", "SIGKILL")]
    slow = [sign(f"work_in_{pool}", number, 0.5) for pool in POOLS for number in range(SLOW)]
    quick = [sign(f"work_in_{pool}", number) for pool in POOLS for number in range(QUICK)]
    wrong = [sign("take_two", 1) for _ in range(5)]
    # Killers among the first that are taken, and among the last.
    batches = [deadly[::2], slow, wrong, quick, deadly[1::2]]
    handles = iter(sender.send_many([one for batch in batches for one in batch]))
    ended = [[outcome(next(handles)) for _ in batch] for batch in batches]
    assert ended[1] == [number for _ in POOLS for number in range(SLOW)]
    assert ended[2] == ["drivetrain.contract.errors.InvalidArguments"] * len(wrong)
    assert ended[3] == [number for _ in POOLS for number in range(QUICK)]
    assert ended[0] + ended[4] == ["drivetrain.WorkerDied"] * len(deadly)
