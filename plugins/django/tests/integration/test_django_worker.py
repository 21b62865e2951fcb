"""The example project as its users run it: ``manage.py drivetrain worker``, with child processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.waiting import until


@pytest.fixture
def worker(project, shop):
    """A worker of the project, in processes of its own."""
    manage = Path(__file__).parent / "project" / "manage.py"
    command = [sys.executable, manage, "drivetrain", "worker", "--queues", "default,slow,mails", "--concurrency", "2"]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert "Traceback" not in log, log


def test_a_worker_of_the_project_runs_tasks_of_both_kinds_in_threads_and_child_processes(shop, worker):
    from drivetrain_django import app

    order = shop.Order.objects.create(total=7)
    paid, report, child = app.send_many([shop.pay.si(order.pk), shop.slow_report.si(), shop.count_in_a_child.si()])
    mail = shop.mail.enqueue("ada")
    assert paid.get(timeout=100) == 7
    assert report.get(timeout=100) == 1
    pid, count = child.get(timeout=100)
    assert (pid not in (os.getpid(), worker.pid), count) == (True, 1)
    until(lambda: (mail.refresh(), mail.is_finished)[1], "the mail is sent")
    assert mail.return_value == "1 to ada"
    order.refresh_from_db()
    assert order.paid
