"""drivetrain in a Django project: settings, discovery, sending on commit, connections, the admin, commands."""

import pytest

from drivetrain import ConfigurationError, InvalidArguments, UnknownResult


def test_the_settings_describe_the_app_and_its_tasks_are_discovered(shop):
    from drivetrain_django import app, get_app

    assert app is get_app()
    assert app.settings.name == "storefront"
    assert {"storefront.tasks.pay", "storefront.tasks.mail"} <= set(app.tasks)


def test_routes_are_those_of_the_settings(shop, time):
    assert shop.slow_report.send().record().queue == "slow"


def test_a_workflow_is_sent_when_the_transaction_commits_and_its_id_is_known_before(shop, time):
    from django.db import transaction

    from drivetrain_django import send_on_commit

    with transaction.atomic():
        order = shop.Order.objects.create(total=5)
        handle = send_on_commit(shop.pay.si(order.pk))
        order.task_id = handle.id
        order.save()
        with pytest.raises(UnknownResult):
            handle.state()
        assert time.run_ready() == 0
    assert time.run_ready() == 1
    order.refresh_from_db()
    assert (order.paid, handle.get(timeout=0)) == (True, 5)


def test_a_rolled_back_transaction_sends_nothing(shop, time):
    from django.db import transaction

    from drivetrain_django import send_on_commit

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        handle = send_on_commit(shop.slow_report.si())
        raise ZeroDivisionError
    assert time.run_ready() == 0
    with pytest.raises(UnknownResult):
        handle.state()


def test_without_a_transaction_it_is_sent_at_once_and_wrong_arguments_are_refused_at_once(shop, time):
    from django.db import transaction

    from drivetrain_django import send_on_commit

    send_on_commit(shop.slow_report.si())
    assert time.run_ready() == 1
    with transaction.atomic(), pytest.raises(InvalidArguments):
        send_on_commit(shop.pay.si("no number"))


def test_connections_are_closed_around_each_run(shop, project):
    from drivetrain_django import app

    with app.worker(concurrency=1):
        assert [shop.is_connected.send().get(timeout=60) for _ in range(3)] == [False] * 3


def test_a_connection_in_a_transaction_of_a_test_is_kept(shop, time):
    from django.db import transaction

    with transaction.atomic():
        shop.Order.objects.create(total=1)
        handle = shop.slow_report.send()
        time.run_ready()
        assert handle.get(timeout=0) == 1
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"BROKR": "memory://"}, "DRIVETRAIN has unknown keys: BROKR; known are"),
        ({"ROUTE": "storefront.nowhere.route"}, "'storefront.nowhere.route', which cannot be imported"),
        ({"IMPORTS": "storefront.jobs"}, "must be a list of modules"),
        ([], "DRIVETRAIN is of type list"),
    ],
)
def test_wrong_settings_are_refused(project, settings, fault):
    from django.test import override_settings

    from drivetrain_django.options import read_options

    with override_settings(DRIVETRAIN=settings), pytest.raises(ConfigurationError, match=fault):
        read_options()


def test_manage_py_check_reports_wrong_settings(project):
    from django.test import override_settings

    from drivetrain_django import apps
    from drivetrain_django.application import _Current

    with override_settings(DRIVETRAIN={"CONCURRENCY": 0}), pytest.MonkeyPatch.context() as patch:
        patch.setattr(apps, "get_app", _Current().get)
        (fault,) = apps.check_settings(None)
    assert fault.id == "drivetrain.E001"
    assert "concurrency is 0" in fault.msg


def test_the_command_is_that_of_drivetrain_for_the_app_of_the_project(shop, project, capsys, monkeypatch):
    from django.core.management import CommandError, call_command

    monkeypatch.delenv("DRIVETRAIN_APP", raising=False)
    call_command("drivetrain", "queues")
    assert "default" in capsys.readouterr().out
    with pytest.raises(CommandError, match="exit code 3"):
        call_command("drivetrain", "result", "nobody")


def test_the_admin_shows_tasks_to_those_who_may_see_them(shop, time):
    from django.contrib.auth.models import User
    from django.test import Client

    shop.broken.enqueue()
    time.run_ready()
    User.objects.filter(username="boss").delete()
    boss = User.objects.create_superuser("boss", password="secret")
    client = Client()
    assert client.get("/admin/drivetrain_django/taskpage/").status_code == 302
    client.force_login(boss)
    page = client.get("/admin/drivetrain_django/taskpage/", {"state": "FAILURE"})
    assert page.status_code == 200
    text = page.content.decode()
    assert "storefront.tasks.broken" in text
    assert "it is broken" in text
    assert "https://dashboard.example.org/" in text
    assert client.get("/admin/drivetrain_django/taskpage/add/").status_code == 403


def test_migrations_are_complete(project):
    from django.core.management import call_command

    call_command("makemigrations", "drivetrain_django", check=True, dry_run=True, verbosity=0)
