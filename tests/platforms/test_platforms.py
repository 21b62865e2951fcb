"""The files for platforms: their commands and metrics exist. A worker lives as process 1, and writes nothing."""

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from drivetrain.cli import main

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "examples" / "platforms"

APP = """
from drivetrain import App
app = App("sqlite:///{database}")

@app.task
def add(x: int, y: int) -> int:
    return x + y
"""


def check_command(words):
    """Parse a command as the program does."""
    assert words[0].endswith("drivetrain")
    command = main.commands[words[1]]
    context = click.Context(command, info_name=words[1])
    command.parse_args(context, list(words[2:]))


def manifests():
    return {one["kind"]: one for one in yaml.safe_load_all((FILES / "kubernetes.yaml").read_text("utf-8"))}


def service():
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str
    unit.read(FILES / "drivetrain-worker.service", encoding="utf-8")
    return unit["Service"]


def test_the_service_of_systemd():
    unit = service()
    words = shlex.split(unit["ExecStart"])
    check_command(words)
    grace = float(words[words.index("--grace-seconds") + 1])
    assert float(unit["TimeoutStopSec"]) > grace
    assert unit["Type"] == "notify"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_service(tmp_path):
    text = (FILES / "drivetrain-worker.service").read_text("utf-8")
    unit = tmp_path / "drivetrain-worker.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False, timeout=60
    )
    assert "drivetrain-worker.service" not in told.stderr, told.stderr


def test_the_commands_of_the_container():
    text = (FILES / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"CMD \[(.*)\]", text)
    assert len(commands) == 2
    for command in commands:
        check_command([word.strip().strip('"') for word in command.split(",")])


def test_the_commands_of_kubernetes():
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    check_command(container["args"])
    check_command(container["readinessProbe"]["exec"]["command"])
    grace = float(container["args"][container["args"].index("--grace-seconds") + 1])
    assert pod["terminationGracePeriodSeconds"] > grace


def test_keda_asks_for_metrics_that_exist():
    known = (ROOT / "plugins" / "prometheus" / "README.md").read_text("utf-8")
    for trigger in manifests()["ScaledObject"]["spec"]["triggers"]:
        names = re.findall(r"drivetrain_\w+", trigger["metadata"]["query"])
        assert names
        assert [name for name in names if f"`{name}`" not in known] == []


def _can_isolate():
    told = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "true"], capture_output=True, check=False, timeout=60
    )
    return told.returncode == 0


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_worker_is_process_1_and_writes_nowhere(tmp_path):
    if not _can_isolate():
        pytest.skip("this user may not make namespaces")
    home, data = tmp_path / "home", tmp_path / "data"
    home.mkdir()
    data.mkdir()
    (home / "shop.py").write_text(APP.format(database=data / "work.db"))
    # The database stands for a service outside of the container; everything else is read-only.
    script = (
        f"mount --bind -o ro {home} {home} && mount -o remount,bind,ro {home} && cd {home} && "
        f"! touch {home}/new 2>&1 && exec {sys.executable} -m drivetrain.cli worker shop:app"
    )
    worker = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c", script],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        for line in worker.stderr:
            if "receives from" in line:
                break
        code = "import shop; print(shop.add.send(1, 2).get(timeout=60))"
        told = subprocess.run(
            [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False, timeout=90
        )
        assert told.stdout.split() == ["3"], told.stderr
        [inner] = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        assert re.search(r"^NSpid:.*\s1$", Path(f"/proc/{inner}/status").read_text(), re.MULTILINE)
        os.kill(int(inner), signal.SIGTERM)
        log = worker.stderr.read()
        assert worker.wait(timeout=60) == 0, log
        assert "all worker processes have ended" in log
    finally:
        worker.kill()
        worker.stderr.close()
        worker.wait()
