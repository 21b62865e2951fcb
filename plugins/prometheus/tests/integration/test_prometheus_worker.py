"""``drivetrain worker --plugins prometheus`` on Redis: one endpoint for all processes, also after one was killed."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from drivetrain.cli.app_loading import load_app
from services.processes import free_port
from services.redis import RedisServer
from support.waiting import until

SHOP = """
import os

from drivetrain import App
from prometheus_client import Counter

app = App(os.environ["SHOP_URL"], name="shop")
sold = Counter("shop_sold", "Sold things.", ["kind"])


@app.task(name="sell")
def sell(kind: str) -> int:
    sold.labels(kind).inc()
    return os.getpid()


@app.task(name="sell_in_child", pool="processes")
def sell_in_child(kind: str) -> int:
    return os.getpid()
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"), durable=False)
    server.process.start()
    yield server
    server.process.kill()


@pytest.fixture
def shop(redis, tmp_path, monkeypatch):
    (tmp_path / "prom_shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SHOP_URL", f"{redis.url}?namespace={tmp_path.name}")
    with load_app("prom_shop:app") as app:
        yield app
    sys.modules.pop("prom_shop")


@pytest.fixture
def port(monkeypatch):
    port = free_port()
    monkeypatch.setenv("DRIVETRAIN_PLUGIN_OPTIONS", f'{{"prometheus": {{"port": {port}}}}}')
    return port


@pytest.fixture
def worker(shop, port):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "drivetrain.cli", "worker", "prom_shop:app"),
            *("--plugins", "prometheus", "--processes", "2", "--concurrency", "1"),
        ],
        start_new_session=True,
    )
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def metric(port, name, **labels):
    """The values of a metric with these labels, by process."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read().decode()
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(rf"{name}{{(.*)}} (\S+)", line)
        given = dict(re.findall(r'(\w+)="([^"]*)"', match[1])) if match else {}
        if match and labels.items() <= given.items():
            found[given["process"]] = float(match[2])
    return found


def tries(function):
    """The value of a function, or None while the endpoint is not there."""

    def attempt():
        try:
            return function()
        except OSError:
            return None

    return attempt


def test_one_endpoint_has_the_metrics_of_all_processes(shop, worker, port):
    slots = until(
        tries(lambda: len(metric(port, "drivetrain_worker_slots", pool="threads")) == 2), "both processes report"
    )
    assert slots
    names = {"1", "2"}
    handles = [shop.signature("sell", "book").set(queue="default").send() for _ in range(200)]
    assert len({handle.get(timeout=60) for handle in handles}) == 2
    counted = metric(port, "drivetrain_tasks_total", task="sell", outcome="success")
    assert set(counted) == names
    assert until(lambda: sum(metric(port, "drivetrain_tasks_total", outcome="success").values()) == 200, "all count")
    assert sum(metric(port, "shop_sold_total", kind="book").values()) == 200, "the application's own metrics too"
    assert sum(metric(port, "drivetrain_task_wait_seconds_count", task="sell").values()) == 0, "no plugin published"
    child = shop.signature("sell_in_child", "book").set(queue="default").send()
    assert child.get(timeout=60) not in {handle.get(timeout=60) for handle in handles}
    until(
        lambda: sum(metric(port, "drivetrain_task_run_seconds_count", task="sell_in_child").values()) == 1,
        "a run in a child process is counted",
    )
    os.kill(handles[0].get(timeout=60), signal.SIGKILL)
    until(
        lambda: (
            (found := metric(port, "drivetrain_tasks_total", outcome="success"))
            and sum(found.values()) < 201
            and set(metric(port, "drivetrain_worker_slots", pool="threads")) == names
        ),
        "a replacement reports under the number of the killed process",
    )
