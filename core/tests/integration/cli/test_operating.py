"""The operator's commands, over a real SQLite file: what they print, and what they end with."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from drivetrain import App, State, group
from drivetrain.cli.commands import result as result_command
from drivetrain.contract import Message, QueueSection, ServiceUnavailable, Transition

URL = "sqlite:///work.db"


@pytest.fixture
def dead_letter(shop, other_app):
    """The id of a task that nobody knew."""
    result = other_app.send(other_app.signature("shop.gone", "secret"))
    with shop.app.worker(version_mismatch_seconds=0):
        assert result.wait(60)
    return result.id


class TestNamespaces:
    def test_without_an_app_the_namespace_comes_from_an_option_the_url_or_a_variable(self, project, run, monkeypatch):
        with App(URL, name="orders") as app:
            app.task(name="note")(lambda: None).send()
        ready = ("inspect", "--json", "--broker")
        assert '"ready": 1' in run(*ready, URL, "--namespace", "orders").stdout
        assert '"ready": 1' in run("--namespace", "orders", *ready, URL).stdout
        assert '"ready": 1' in run(*ready, f"{URL}?namespace=orders").stdout
        assert '"ready": 1' not in run(*ready, URL).stdout
        monkeypatch.setenv("DRIVETRAIN_NAME", "orders")
        assert '"ready": 1' in run(*ready, URL).stdout

    def test_a_namespace_next_to_an_app_is_refused(self, shop, run):
        outcome = run("--app", "shop:app", "--namespace", "orders", "inspect")
        assert outcome.exit_code == 2
        assert "leave --namespace out" in outcome.stderr

    def test_it_is_described(self, shop, run, run_json):
        assert "broker  sqlite:///work.db?synchronous=…, namespace drivetrain" in run("describe", "shop:app").stdout
        _, document = run_json("--broker", f"{URL}?namespace=orders", "--namespace", "other", "describe")
        assert (document["broker"]["namespace"], document["backend"]["namespace"]) == ("orders", "orders")


class TestInspect:
    def test_sizes_and_tasks(self, shop, run_json):
        shop.add.send(1, 2)
        later = shop.app.send(shop.add.s(1, 2).set(delay=60))
        code, document = run_json("--app", "shop:app", "inspect")
        assert code == 0
        (queue,) = document["queues"]
        assert (queue["queue"], queue["ready"], queue["delayed"], queue["in_flight"], queue["dead"]) == (
            "default",
            1,
            1,
            0,
            0,
        )
        assert queue["tasks"]["delayed"][0]["id"] == later.id
        due = datetime.fromisoformat(queue["tasks"]["delayed"][0]["due"])
        assert timedelta(seconds=50) < due - datetime.now(UTC) < timedelta(seconds=61)
        assert "args" not in queue["tasks"]["ready"][0]
        assert 0 <= queue["oldest_seconds"] < 60

    def test_table(self, shop, run):
        sent = shop.add.send(1, 2)
        outcome = run("--app", "shop", "inspect", "default", "high", "--args")
        lines = outcome.stdout.splitlines()
        assert re.fullmatch(r"default      1        0          0     0  0:00:\d\d", lines.pop(1)), "its age is shown"
        assert lines == [
            "QUEUE    READY  DELAYED  IN FLIGHT  DEAD  OLDEST",
            "high         0        0          0     0",
            "",
            "QUEUE    SECTION  ID                                TASK      ATTEMPT  ARGUMENTS",
            f"default  ready    {sent.id}  shop.add        0  (1, 2)",
            "",
            "No worker serves default, where 1 task waits. Start one: drivetrain worker --queues default",
        ]

    def test_arguments_only_on_request(self, shop, run):
        shop.fail.send("secret")
        assert "secret" not in run("--broker", URL, "inspect").stdout
        assert "secret" in run("--broker", URL, "inspect", "--args").stdout

    def test_limit(self, shop, run):
        shop.app.send_many([shop.add.s(1, n) for n in range(5)])
        outcome = run("--broker", URL, "inspect", "--limit", "2")
        assert outcome.stdout.count("shop.add") == 2
        assert "… and 3 more ready in default" in outcome.stdout
        assert "shop.add" not in run("--broker", URL, "inspect", "--limit", "0").stdout

    def test_hostile_names_cannot_command_the_terminal(self, shop, run):
        shop.app.send(shop.app.signature("evil\x1b[2J\nname"))
        assert "\x1b" not in run("--broker", URL, "inspect").stdout
        assert "evil\\x1b[2J name" in run("--broker", URL, "inspect").stdout

    def test_unreadable_messages_are_shown_as_such(self, shop, run_json):
        shop.app.runtime.broker.publish(
            [Message(id="x", queue="default", body=b"?", headers={"drivetrain-eta": "soon"})]
        )
        _, document = run_json("--broker", URL, "inspect")
        assert document["queues"][0]["tasks"]["ready"][0]["task"] is None


class TestResult:
    def test_success(self, shop, run, run_json):
        sent = shop.receipt.send(3)
        with shop.app.worker(name="w1"):
            sent.get(timeout=60)
        code, document = run_json("--broker", URL, "result", sent.id)
        assert code == 0
        assert document["result"] == {"total": 3, "lines": ["a", "b"]}
        assert (document["state"], document["task"], document["worker"]) == ("SUCCESS", "shop.receipt", "w1")
        assert set(document["times"]) == {"PENDING", "RECEIVED", "STARTED", "SUCCESS"}
        assert "Receipt(total=3, lines=['a', 'b'])" in run("--app", "shop", "result", sent.id).stdout

    def test_failure(self, shop, run, run_json):
        sent = shop.fail.send("luck")
        with shop.app.worker():
            assert sent.wait(60)
        code, document = run_json("--broker", URL, "result", sent.id)
        assert code == 1
        assert (document["failure"]["type"], document["failure"]["message"]) == ("builtins.ValueError", "no luck")
        outcome = run("--broker", URL, "result", sent.id)
        assert outcome.exit_code == 1
        assert "error       builtins.ValueError: no luck" in outcome.stdout
        assert "Traceback (most recent call last)" in outcome.stdout

    def test_unknown(self, shop, run):
        outcome = run("--app", "shop", "result", "nonsense")
        assert outcome.exit_code == 3
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("Error: nothing is known of task nonsense")

    def test_not_ended(self, shop, run, run_json):
        sent = shop.add.send(1, 2)
        assert run_json("--app", "shop", "result", sent.id)[0] == 124
        outcome = run("--app", "shop", "result", sent.id, "--wait", "0.05")
        assert outcome.exit_code == 124
        assert "state       PENDING" in outcome.stdout

    def test_waits(self, shop, run_json):
        sent = shop.add.send(1, 2)
        with shop.app.worker():
            code, document = run_json("--broker", URL, "result", sent.id, "--wait", "10")
        assert (code, document["result"]) == (0, 3)

    def test_group(self, shop, run, run_json):
        sent = shop.app.send(group([shop.add.s(1, 1), shop.add.s(2, 2).set(delay=0.2)]))
        code, document = run_json("--broker", URL, "result", sent.id)
        assert (code, document["members"], document["members_done"]) == (124, 2, 0)
        with shop.app.worker():
            sent.get(timeout=60)
        code, document = run_json("--broker", URL, "result", sent.id)
        assert (code, document["members_done"], document["result"]) == (0, 2, [2, 4])
        assert "members     2 of 2 done" in run("--broker", URL, "result", sent.id).stdout

    def test_a_payload_that_cannot_be_read(self, shop, run_json):
        ended = Transition(task_id="1", state=State.SUCCESS, at=1.0, payload=b"x/y\n?")
        shop.app.runtime.backend.record([ended])
        code, document = run_json("--broker", URL, "result", "1")
        assert (code, document["state"]) == (0, "SUCCESS")
        assert "x/y" in document["unreadable"]


class TestCancel:
    def test_each_is_reported(self, shop, run, run_json):
        done, open_, other = shop.add.send(1, 2), shop.app.send(shop.add.s(1, 2).set(delay=60)), shop.add.send(1, 1)
        with shop.app.worker():
            done.get(timeout=60)
            other.get(timeout=60)
        code, document = run_json("--broker", URL, "cancel", open_.id)
        assert (code, document) == (0, {"tasks": [{"id": open_.id, "state": "CANCELLED"}]})
        assert run("--broker", URL, "cancel", open_.id, done.id).exit_code == 1
        outcome = run("--broker", URL, "cancel", "nonsense", open_.id)
        assert outcome.exit_code == 3
        assert "unknown" in outcome.stdout


class TestPurge:
    def test_drops_and_cancels(self, shop, run_json):
        sent = [shop.add.send(1, 2), shop.app.send(shop.add.s(1, 2).set(delay=60))]
        assert run_json("--app", "shop", "purge", "default", "--yes") == (0, {"queue": "default", "purged": 2})
        assert [result.state() for result in sent] == [State.CANCELLED] * 2

    def test_refuses_without_a_terminal(self, shop, run):
        shop.add.send(1, 2)
        outcome = run("--app", "shop", "purge", "default")
        assert outcome.exit_code == 2
        assert "--yes" in outcome.stderr
        assert shop.app.operations.sizes()["default"].ready == 1

    @pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1)])
    def test_asks_at_a_terminal(self, shop, run, monkeypatch, answer, code, left):
        shop.add.send(1, 2)
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True, raising=False)
        outcome = run("--app", "shop", "purge", "default", input=answer)
        assert "Drop 1 ready and 0 delayed tasks of the queue 'default'?" in outcome.stderr
        assert outcome.exit_code == code
        assert shop.app.operations.sizes()["default"].ready == left

    def test_a_typing_error(self, shop, run):
        shop.add.send(1, 2)
        outcome = run("--app", "shop", "purge", "defautl", "--yes")
        assert outcome.exit_code == 3
        assert "did you mean default?" in outcome.stderr


class TestDead:
    def test_list(self, dead_letter, run, run_json):
        code, document = run_json("--broker", URL, "dead", "list", "default")
        assert code == 0
        (letter,) = document["dead"]
        assert (letter["id"], letter["task"]) == (dead_letter, "shop.gone")
        assert "unknown task" in letter["reason"]
        assert "args" not in letter
        assert "unknown task" in run("--broker", URL, "dead", "list", "default", "--id", dead_letter).stdout

    def test_none(self, shop, run):
        assert run("--app", "shop", "dead", "list", "default").stdout == "no dead letters in default\n"

    def test_replay(self, dead_letter, run_json, shop):
        replayed = run_json("--broker", URL, "dead", "replay", "default", "--id", dead_letter)
        assert replayed == (0, {"queue": "default", "replayed": 1})
        assert shop.app.operations.sizes()["default"].ready == 1
        assert shop.app.result(dead_letter).state() is State.PENDING

    def test_replay_of_a_missing_dead_letter(self, dead_letter, run):
        outcome = run("--broker", URL, "dead", "replay", "default", "--id", "nonsense", "--id", dead_letter)
        assert outcome.exit_code == 3
        assert outcome.stderr == "Error: not among the dead letters of default: nonsense\n"

    def test_drop(self, dead_letter, run, run_json):
        assert run("--broker", URL, "dead", "drop", "default").exit_code == 2
        assert run_json("--broker", URL, "dead", "drop", "default", "--yes") == (0, {"queue": "default", "dropped": 1})

    def test_filters(self, shop, run, run_json):
        app = shop.app
        unlucky = app.task(name="shop.unlucky", dead_letter=True)(shop.fail.definition.function)
        sent = app.send_many([unlucky.s("rain"), unlucky.s("snow"), shop.fail.s("rain").set(dead_letter=True)])
        with app.worker():
            for handle in sent:
                handle.wait(30)
        ids = [handle.id for handle in sent]

        def listed(*options):
            code, document = run_json("--app", "shop:app", "dead", "list", "default", *options)
            assert code == 0
            return [ids.index(letter["id"]) for letter in document["dead"]]

        assert sorted(listed("--task", "shop.unlucky")) == [0, 1]
        assert sorted(listed("--task", "shop.unlucky", "--task", "shop.fail")) == [0, 1, 2]
        assert sorted(listed("--reason", "no rain")) == [0, 2]
        assert listed("--reason", "no rain", "--task", "shop.fail") == [2]
        assert len(listed("--newer-than", "1h")) == 3
        assert listed("--older-than", "90m") == []
        assert listed("--older-than", "2020-01-01") == []
        assert listed("--newer-than", "2126-11-30T12:00+01:00") == []
        assert len(listed("--older-than", "2126-11-30T12:00Z")) == 3
        assert listed("--id", ids[1], "--reason", "snow") == [1]
        dropped = run_json("--app", "shop:app", "dead", "drop", "default", "--reason", "snow", "--yes")
        assert dropped == (0, {"queue": "default", "dropped": 1})
        assert run_json("--app", "shop:app", "dead", "replay", "default", "--task", "shop.unlucky")[1]["replayed"] == 1
        assert listed() == [2]

    def test_a_filter_is_shown_before_anything_is_dropped(self, dead_letter, run, monkeypatch):
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True, raising=False)
        outcome = run("--broker", URL, "dead", "drop", "default", "--reason", "unknown", input="n\n")
        assert "Delete 1 dead letter of 'default'?" in outcome.stderr
        assert outcome.exit_code == 1
        outcome = run("--broker", URL, "dead", "drop", "default", "--reason", "thunder")
        assert (outcome.exit_code, outcome.stdout) == (0, "0 dropped from the dead letters of default\n")

    @pytest.mark.parametrize("text", ["soon", "-1h", "1", "5 weeks", "", "2026-13-01", "1e9d", "9999999999999d"])
    def test_a_time_that_cannot_be_read_is_refused(self, dead_letter, run, text):
        outcome = run("--broker", URL, "dead", "list", "default", "--older-than", text)
        assert outcome.exit_code == 2
        assert "like 90s, 30m, 12h or 7d" in outcome.stderr

    def test_letters_that_cannot_be_read(self, shop, run_json):
        headers = {"drivetrain-eta": "soon", "content-type": "application/json"}
        shop.app.runtime.broker.publish([Message(id="x", queue="default", body=b"{}", headers=headers)])
        with shop.app.worker():
            shop.add.send(1, 2).get(timeout=60)
        _, document = run_json("--broker", URL, "dead", "list", "default")
        assert "soon" in document["dead"][0]["reason"]


class TestDrivers:
    def test_json(self, run_json, project):
        code, document = run_json("drivers")
        assert code == 0
        (sqlite,) = [one for one in document["drivers"] if (one["kind"], one["name"]) == ("broker", "sqlite")]
        assert sqlite["distribution"] == "drivetrain"
        assert sqlite["importable"] is True
        assert sqlite["capabilities"]["durability"] == "power"
        assert sqlite["capabilities"]["store"] == "declared", "a path or a host of this machine is shown"

    def test_table(self, run, project):
        lines = run("drivers").stdout.splitlines()
        assert lines[0].split() == ["KIND", "NAME", "DISTRIBUTION", "VERSION", "IMPORTS"]
        assert any(line.startswith("broker sqlite") and "durability power" in line for line in lines)

    def test_works_with_broken_settings(self, run, project, monkeypatch):
        monkeypatch.setenv("DRIVETRAIN_BROKER", "nonsense")
        assert run("drivers").exit_code == 0


class TestWhichApp:
    def test_from_the_environment(self, shop, run_json, monkeypatch):
        monkeypatch.setenv("DRIVETRAIN_APP", "shop:app")
        assert [queue["queue"] for queue in run_json("inspect")[1]["queues"]] == ["default"]

    def test_the_command_line_is_stronger(self, shop, run, monkeypatch):
        monkeypatch.setenv("DRIVETRAIN_APP", "nonsense:app")
        assert run("--broker", URL, "inspect").exit_code == 0

    def test_options_before_and_after_the_command(self, shop, run):
        assert run("inspect", "--broker", URL).exit_code == run("--broker", URL, "inspect").exit_code == 0

    def test_urls_from_environment_and_file(self, shop, run, project, monkeypatch):
        (project / "settings.toml").write_text(f'broker = "{URL}"\n')
        assert run("--config", "settings.toml", "inspect").exit_code == 0
        monkeypatch.setenv("DRIVETRAIN_BROKER", URL)
        assert run("inspect").exit_code == 0

    def test_an_app_and_a_url_contradict_each_other(self, shop, run):
        outcome = run("--app", "shop:app", "inspect", "--broker", URL)
        assert outcome.exit_code == 2
        assert "leave --broker out" in outcome.stderr

    def test_without_an_app_and_a_broker_no_file_is_made(self, project, run):
        outcome = run("inspect")
        assert outcome.exit_code == 2
        assert "--app module:app" in outcome.stderr
        assert not (project / "drivetrain.db").exists()

    def test_the_default_file_where_it_is(self, project, run_json):
        with App() as app:
            app.send(app.signature("something"))
        assert run_json("inspect")[1]["queues"][0]["ready"] == 1


class TestErrors:
    def test_one_message_without_traceback(self, project, run):
        outcome = run("--broker", "nowhere://", "inspect")
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert outcome.stderr.startswith("Error: no installed package serves nowhere://")
        assert "Traceback" not in outcome.stderr

    def test_verbose_shows_it(self, project, run):
        assert "Traceback" in run("--verbose", "--broker", "nowhere://", "inspect").stderr

    def test_no_secrets(self, project, run, monkeypatch):
        def leak(*_arguments):
            raise ServiceUnavailable("no answer") from OSError("redis://me:hunter2@db with hunter2")

        monkeypatch.setattr(result_command, "_document", leak)
        with App(URL) as app:
            task_id = app.send(app.signature("something")).id
        monkeypatch.setenv("DRIVETRAIN_BACKEND", URL)
        monkeypatch.setenv("DRIVETRAIN_BROKER", "sqlite://me:hunter2@db")
        outcome = run("--broker", URL, "--verbose", "result", task_id)
        assert outcome.exit_code == 4
        assert "no answer" in outcome.stderr
        assert "hunter2" not in outcome.stderr

    def test_what_a_service_says_is_passed_on(self, project, run):
        (project / "work.db").mkdir()
        outcome = run("--broker", URL, "inspect")
        assert outcome.exit_code == 1
        assert "directory" in outcome.stderr

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["worker"], "no app given"),
            (["worker", "nonsense:app"], "there is no module 'nonsense'"),
            (["worker", "shop:app", "--queues", "a,,b"], "commas"),
            (["worker", "shop:app", "--concurrency", "0"], "x>=1"),
            (["worker", "shop:app", "--broker", "x://"], "No such option"),
            (["--broker", "x://", "worker", "shop:app"], "leave --broker out"),
        ],
    )
    def test_wrong_usage_of_the_worker(self, project, run, args, said):
        outcome = run(*args)
        assert outcome.exit_code == 2
        assert said in outcome.stderr

    def test_several_processes_need_a_shared_broker(self, project, run):
        (project / "lone.py").write_text("from drivetrain import App\napp = App('memory://')\n")
        outcome = run("worker", "lone", "--processes", "2")
        assert outcome.exit_code == 2
        assert "one process" in outcome.stderr


def test_help_tells_the_exit_codes(run, project):
    assert "124  not finished in time" in run("--help").stdout


def test_version(run, run_json, project):
    assert run("version").stdout.startswith("drivetrain ")
    assert run_json("version")[1]["python"] == sys.version.split()[0]
    assert json.dumps(run_json("version")[1])


class TestRescue:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch):
        """Looks follow one another at once."""
        monkeypatch.setattr("drivetrain.app.rescue.certainty_seconds", lambda *_, **__: 0.0)

    @pytest.fixture
    def lost(self, shop):
        """The handle of a task whose message somebody has dropped."""
        handle = shop.add.send(1, 2)
        shop.app.runtime.broker.purge("default", QueueSection.READY)
        return handle

    def test_what_is_lost_is_shown_and_then_ended(self, lost, run_json):
        code, document = run_json("--app", "shop:app", "rescue", "--older-than", "0", "--dry-run")
        (task,) = document["tasks"]
        told = (code, task["id"], task["task"], task["state"], task["done"], task["reason"])
        assert told == (0, lost.id, "shop.add", "PENDING", "would be ended", None)
        assert datetime.fromisoformat(task["due"]) <= datetime.now(UTC)
        assert lost.state() is State.PENDING
        _, document = run_json("--app", "shop:app", "rescue", "--older-than", "0")
        assert document["tasks"][0]["done"] == "ended"
        assert lost.state() is State.FAILURE

    def test_table(self, lost, run):
        outcome = run("--app", "shop:app", "rescue", "--older-than", "0")
        assert outcome.exit_code == 0
        header, row = outcome.stdout.splitlines()
        assert header.split() == ["ID", "TASK", "STATE", "ATTEMPT", "QUEUE", "DUE", "DONE"]
        assert row.split()[:4] == [lost.id, "shop.add", "PENDING", "0"]
        assert row.endswith("ended")

    def test_what_is_only_slow_is_not_shown(self, shop, run):
        handle = shop.add.send(1, 2)
        assert run("--app", "shop:app", "rescue", "--older-than", "0").stdout == "no task is lost\n"
        outcome = run("--app", "shop:app", "rescue", "--end", handle.id, "--end", "unknown")
        assert "its message is in a queue" in outcome.stdout
        assert "not known, ended already, or not due: unknown" in outcome.stderr
        assert (outcome.exit_code, handle.state()) == (3, State.PENDING)

    def test_the_time_is_that_of_the_settings(self, lost, run):
        assert run("--app", "shop:app", "rescue").stdout == "no task is lost\n"

    def test_an_operator_ends_what_only_he_knows_to_be_lost(self, lost, run):
        outcome = run("--app", "shop:app", "rescue", "--end", lost.id)
        assert (outcome.exit_code, lost.state()) == (0, State.FAILURE)
        assert run("--app", "shop:app", "rescue", "--end", lost.id, "--dry-run").exit_code == 2

    def test_a_backend_that_cannot_list_is_reported(self, run):
        outcome = run("--broker", URL, "--backend", "null://", "rescue")
        assert outcome.exit_code == 2
        assert "cannot list tasks" in outcome.stderr
