"""Writes the pictures of docs/dashboard.md: ``DASHBOARD_PICTURES=DIRECTORY``; otherwise there is nothing to write.

The shop is real. Only what happened in the last two days is made up, since a test does not run for two days.
"""

import math
import os

import pytest

from drivetrain_dashboard import asgi
from drivetrain_dashboard.views import overview
from drivetrain_dashboard.views.counts import Counted, CountsPoint, Series
from support.browsing import PICTURES, browser, picture, served
from support.dashboard_shop import running_shop


def series(until, steps, step_seconds, scale):
    """Counts that rise and fall; some tasks fail in the last third."""
    points = []
    for number in range(steps):
        wave = 1 + 0.4 * math.sin(number / 7) + 0.15 * math.sin(number * 1.9)
        failed = int(scale * 0.12 * wave) if number > steps * 0.7 else 0
        counts = Counted(
            succeeded=int(scale * wave),
            failed=failed,
            retried=failed // 2,
            waiting_p50=0.02 * wave,
            waiting_p95=0.4 * wave + (2.5 if failed else 0),
            run_p50=0.12 * wave,
            run_p95=0.9 * wave,
        )
        points.append(CountsPoint(start=until - (steps - number) * step_seconds, counts=counts))
    total = Counted(
        succeeded=sum(one.counts.succeeded for one in points), failed=sum(one.counts.failed for one in points)
    )
    since = until - steps * step_seconds
    return Series(since=since, until=until, step_seconds=step_seconds, points=tuple(points), total=total)


@pytest.mark.skipif(PICTURES not in os.environ, reason=f"set {PICTURES} to write the pictures of docs/dashboard.md")
def test_pictures_of_the_docs(monkeypatch):
    real = overview.read_hour
    monkeypatch.setattr(
        overview, "read_hour", lambda context: (series(context.now() // 60 * 60, 60, 60, 240), real(context)[1])
    )
    monkeypatch.setattr(overview, "read_two_days", lambda context: series(context.now() // 1800 * 1800, 96, 1800, 7000))
    with running_shop("the mail server is replaced") as shop, served(asgi(shop.app, poll_seconds=0.2)) as address:
        with browser() as running:
            page = running.new_context(viewport={"width": 1200, "height": 1000}).new_page()
            page.goto(f"{address}/")
            picture(page, "dashboard-overview")
            page.set_viewport_size({"width": 1200, "height": 640})
            page.goto(f"{address}/workflow?id={shop.workflow}")
            picture(page, "dashboard-workflow")
            page.emulate_media(color_scheme="dark")
            page.goto(f"{address}/task?id={shop.running[1]}")
            picture(page, "dashboard-task")
            page.set_viewport_size({"width": 390, "height": 800})
            page.goto(f"{address}/queues?queue=mails")
            picture(page, "dashboard-phone")
