"""Another process that uses a broker and is killed."""

from __future__ import annotations

import json
import subprocess
import sys

from drivetrain.contract import Message
from drivetrain_contract_tests.service import Service

__all__ = ["publish_and_die", "receive_and_die", "take_at_once"]

_LONGEST_SECONDS = 60.0

_SCRIPT = """
import json, sys, time
exec(sys.argv[4])
from drivetrain.app.discovery import Drivers
from drivetrain.contract import DriverContext, Message

what, url, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
broker = Drivers(DriverContext()).broker(url)
if what == "publish":
    broker.publish([Message(id=name, queue="q", body=b"body", eta=eta) for name, eta in given])
else:
    print([each.message.id for each in broker.receive(["q"], **given)], flush=True)
print("done", flush=True)
time.sleep(600)
"""

_TAKING = """
import json, sys
exec(sys.argv[2])
from drivetrain.app.discovery import Drivers
from drivetrain.contract import DriverContext

broker = Drivers(DriverContext()).broker(sys.argv[1])
broker.ping()
print("ready", flush=True)
sys.stdin.readline()
taken = []
while found := broker.receive(["q"], limit=2, wait_seconds=0.3, hold_seconds=60):
    taken += [each.message.id for each in found]
    broker.acknowledge(found)
print(json.dumps(taken), flush=True)
"""


def take_at_once(service: Service, url: str, processes: int) -> list[str]:
    """The ids of what several processes receive that begin at the same instant and go on until nothing comes."""
    started = [_start(_TAKING, url, service.prelude) for _ in range(processes)]
    try:
        for each in started:
            assert _line(each) == "ready", "another process could not begin to receive; its standard error says why"
        for each in started:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        return [name for each in started for name in json.loads(_line(each) or "[]")]
    finally:
        for each in started:
            each.kill()
            each.communicate(timeout=_LONGEST_SECONDS)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  ourselves
        [sys.executable, "-c", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def publish_and_die(service: Service, url: str, messages: list[Message]) -> None:
    """Publish in another process, which is killed when `publish` has returned."""
    _run_and_kill(service, "publish", url, [(each.id, each.eta) for each in messages])


def receive_and_die(service: Service, url: str, limit: int, wait_seconds: float, hold_seconds: float) -> None:
    """Receive in another process, which is killed while it holds what it received."""
    how = {"limit": limit, "wait_seconds": wait_seconds, "hold_seconds": hold_seconds}
    told = _run_and_kill(service, "receive", url, how)
    assert "'" in told, f"a process that has died should have received something; it said {told!r}"


def _run_and_kill(service: Service, what: str, url: str, given: object) -> str:
    process = _start(_SCRIPT, what, url, json.dumps(given), service.prelude)
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        while told and not told.endswith("done\n"):
            told += process.stdout.readline()
        assert told.endswith("done\n"), f"another process could not {what}; it has said why on its standard error"
    finally:
        process.kill()
        process.communicate(timeout=_LONGEST_SECONDS)
    return told
