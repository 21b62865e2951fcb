"""The fixtures of `drivetrain.pytest`, in a run of pytest of their own."""

from __future__ import annotations

import textwrap

import pytest

pytest_plugins = ["pytester"]

SHOP = """
from datetime import timedelta
from drivetrain import App, retry

app = App("redis://nowhere.invalid")

@app.task
def remind(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name

@app.task(queue="mails")
def order(name: str) -> None:
    remind.si(name, loud=True).set(delay=timedelta(days=1), headers={"tenant": "a"}).send()
"""


@pytest.fixture
def shop(pytester):
    pytester.makepyfile(shop=SHOP.replace('"redis://nowhere.invalid"', '"sqlite:///nowhere/never.db"'))
    pytester.makeconftest('pytest_plugins = ["drivetrain.pytest"]')
    pytester.makeini("[pytest]\ndrivetrain_app = shop:app\npythonpath = .\n")

    def run(code, **outcomes):
        pytester.makepyfile(test_shop=textwrap.dedent(code))
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
        result.assert_outcomes(**outcomes)
        return result

    return run


def test_all_fixtures(shop):
    shop(
        """
        from datetime import timedelta
        from shop import order, remind

        def test_what_was_sent(drivetrain_app, drivetrain_sent):
            order.send("Ada")
            assert drivetrain_sent.one(order).arguments == {"name": "Ada"}
            assert drivetrain_sent.one("shop.order").queue == "mails"
            assert drivetrain_sent.of(remind) == []

        def test_each_test_begins_with_nothing(drivetrain_sent):
            assert list(drivetrain_sent) == []

        def test_what_tasks_send(virtual_time, drivetrain_sent):
            order.send("Ada")
            now = virtual_time.now()
            virtual_time.run_ready()
            reminder = drivetrain_sent.one(remind)
            assert reminder.arguments == {"name": "Ada", "loud": True}
            assert reminder.eta == now + timedelta(days=1)
            assert reminder.headers == {"tenant": "a"}
            assert list(virtual_time.sent) == list(drivetrain_sent)
            assert virtual_time.run_for(days=2) == 1

        def test_a_worker(drivetrain_worker):
            assert remind.send("Ada", loud=True).get(timeout=60) == "ADA"
        """,
        passed=4,
    )


def test_what_was_not_sent_is_an_error_that_lists_what_was(shop):
    result = shop(
        """
        from shop import order, remind

        def test_it(drivetrain_sent):
            order.send("Ada")
            drivetrain_sent.one(remind)
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(["*shop.remind was not sent, not once. Sent:*", "*shop.order(name='Ada')*"])


def test_virtual_time_and_a_worker_exclude_each_other(shop):
    result = shop("def test_it(virtual_time, drivetrain_worker): ...", errors=1)
    result.stdout.fnmatch_lines(["*drivetrain_worker or virtual_time, not both*"])


@pytest.mark.parametrize(
    ("option", "says"),
    [("", "set drivetrain_app = module:app"), ("shop:order", "names a Task; name a drivetrain.App")],
)
def test_an_app_that_is_not_named_rightly(shop, pytester, option, says):
    pytester.makeini(f"[pytest]\npythonpath = .\ndrivetrain_app = {option}\n")
    result = shop("def test_it(drivetrain_app): ...", errors=1)
    result.stdout.fnmatch_lines([f"*{says}*"])
