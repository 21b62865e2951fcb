"""An app across a fork, on every driver: unused, used before, and in use by other threads at the time of the fork."""

import subprocess
import sys
from pathlib import Path

import pytest

from matrix.places import running

PROGRAM = Path(__file__).parent.parent / "support" / "forking.py"
#: Every broker and every backend that remembers, once.
PAIRS = (
    ("memory", "memory"),
    ("sqlite", "sqlite"),
    ("redis", "redis"),
    ("amqp", "mongodb"),
    ("sqs", "memcache"),
)


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def services(request, tmp_path_factory):
    broker, backend = request.param
    with running(broker, tmp_path_factory.mktemp("broker")) as first:
        if backend == broker:
            yield first, first
        else:
            with running(backend, tmp_path_factory.mktemp("backend")) as second:
                yield first, second


@pytest.mark.timeout(600)  # the first use of moto makes an environment for it
@pytest.mark.parametrize("when", ["before", "after", "during"])
def test_a_child_and_its_parent_go_on(services, when):
    name = services[0].namespace()
    urls = [service.url(name) for service in services]
    # Python warns of forks in processes with threads; here they are what is tried.
    run = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM), *urls, when, "6"]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=150, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
