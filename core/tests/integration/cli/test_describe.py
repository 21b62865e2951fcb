"""What capabilities mean in plain words, and ``drivetrain describe``, which says it of an app."""

import json
from enum import StrEnum

import pytest
from attrs import evolve, frozen

from drivetrain.cli.capability_report import Section, of_backend, of_broker, of_pair
from drivetrain.contract import BackendCapabilities, BrokerCapabilities, Durability, Hold, TaskReach

BROKER = BrokerCapabilities(durability=Durability.POWER)
BACKEND = BackendCapabilities(durability=Durability.POWER)


def texts(statements, section=None):
    return "\n".join(one.text for one in statements if section in {None, one.section})


class TestBroker:
    def test_the_least_that_can_be_declared(self):
        told = of_broker(BROKER)
        refused = texts(told, Section.REFUSED)
        assert "Priorities are not supported" in refused
        assert "Messages are not ordered" in refused
        assert "Only the dead letters of a queue can be listed" in refused
        supplied = texts(told, Section.SUPPLIED)
        assert "how often a task was started is counted in the backend" in supplied
        assert "those that the app's tasks and settings name" in supplied
        assert "Delays of any length." in texts(told, Section.NATIVE)
        assert "Messages of any size." in texts(told, Section.NATIVE)

    def test_the_most_that_can_be_declared(self):
        most = evolve(
            BROKER,
            ordered=True,
            priority_levels=10,
            counts_deliveries=True,
            lists_queues=True,
            peeks=True,
            measures_age=True,
            fair_keys=True,
        )
        assert texts(of_broker(most), Section.SUPPLIED) == ""
        assert texts(of_broker(most), Section.REFUSED) == "A priority of 10 or more is refused when a task is sent."
        assert "Priorities 0 to 9" in texts(of_broker(most), Section.NATIVE)
        assert "The age of the oldest ready message of a queue is known." in texts(of_broker(most), Section.NATIVE)
        assert "The age of the oldest message of a queue is not known." in texts(of_broker(BROKER), Section.REFUSED)

    def test_statements_come_by_section(self):
        sections = [list(Section).index(one.section) for one in of_broker(BROKER)]
        assert sections == sorted(sections)

    @pytest.mark.parametrize(
        ("seconds", "told"),
        [(900.0, "15 minutes"), (43_200, "12 hours"), (86_400, "1 day"), (4_294_967.295, "49.7 days"), (1, "1 second"),
         (90, "90 seconds"), (0.25, "0.25 seconds")],
    )  # fmt: skip
    def test_delays_beyond_the_longest_hop(self, seconds, told):
        statements = of_broker(evolve(BROKER, longest_delay_seconds=seconds))
        assert f"Delays of up to {told}." in texts(statements, Section.NATIVE)
        assert f"is delivered after {told} at the latest and published again" in texts(statements, Section.SUPPLIED)

    def test_precision(self):
        told = texts(of_broker(evolve(BROKER, delay_resolution_seconds=0.25)), Section.DELAYS)
        assert (
            told == "A delayed task is delivered at most 0.25 seconds late while the machine is idle, and never early."
        )

    def test_holds(self):
        by_connection = evolve(BROKER, hold=Hold.CONNECTION, longest_hold_seconds=1_800, settles_late=False)
        told = of_broker(by_connection)
        assert "as long as the worker's connection lives" in texts(told, Section.NATIVE)
        assert "Tasks of more than 30 minutes" in texts(told, Section.SUPPLIED)
        assert "a task that has ended does not run again" in texts(told, Section.SUPPLIED)
        assert "as soon as the broker sees that its connection is gone" in texts(told, Section.CRASH)
        assert "`lease_seconds`, 30 by default" in texts(of_broker(BROKER), Section.CRASH)

    @pytest.mark.parametrize(
        ("durability", "told"),
        [
            (Durability.NONE, "all of them are lost"),
            (Durability.PROCESS, "that were not on disk yet may be lost"),
            (Durability.POWER, "even when the power fails"),
            (Durability.CACHE, "may drop messages when it runs short of room"),
        ],
    )
    def test_what_a_crash_can_cost(self, durability, told):
        assert told in texts(of_broker(evolve(BROKER, durability=durability)), Section.CRASH)

    def test_every_durability_and_hold_of_the_contract_is_known(self):
        for durability in Durability:
            for told in (
                of_broker(evolve(BROKER, durability=durability)),
                of_backend(evolve(BACKEND, durability=durability)),
            ):
                assert "does not know" not in texts(told)
        for hold in Hold:
            assert "does not know" not in texts(of_broker(evolve(BROKER, hold=hold)))

    def test_in_one_process(self):
        told = of_broker(evolve(BROKER, shared=False, durability=Durability.NONE))
        assert "workers in other processes are refused" in texts(told, Section.REFUSED)
        assert "comes back" not in texts(told, Section.CRASH)  # to whom?

    def test_about_sizes(self):
        assert "are approximate" in texts(of_broker(evolve(BROKER, exact_sizes=False)), Section.REFUSED)


class TestBackend:
    def test_the_least(self):
        told = of_backend(BACKEND)
        assert "polls for the result" in texts(told, Section.SUPPLIED)
        assert "cannot be listed" in texts(told, Section.REFUSED)
        assert "Results of any size." in texts(told, Section.NATIVE)

    @pytest.mark.parametrize(
        ("reach", "expected"),
        [
            (TaskReach.UNFINISHED, "Tasks that have not ended can be listed."),
            (TaskReach.FAILED, "Tasks that have not ended, and those that ended without success, can be listed."),
            (TaskReach.ALL, "All tasks can be listed."),
        ],
    )
    def test_the_reach_of_lists(self, reach, expected):
        assert expected in texts(of_backend(evolve(BACKEND, lists_tasks=reach)), Section.NATIVE)

    def test_the_order_of_lists(self):
        told = of_backend(evolve(BACKEND, lists_tasks=TaskReach.ALL, lists_newest_first=True))
        assert "All tasks can be listed, those that have ended newest first." in texts(told, Section.NATIVE)

    def test_an_unknown_reach(self):
        told = of_backend(evolve(BACKEND, lists_tasks="some"))
        assert "It declares the reach of lists 'some', which this version" in texts(told, Section.REFUSED)

    def test_limits(self):
        told = of_backend(evolve(BACKEND, largest_value_bytes=5 << 20, expiry_resolution_seconds=0.1, notifies=True))
        assert "Results of up to 5 MiB." in texts(told, Section.NATIVE)
        assert "at most 0.1 seconds late" in texts(told, Section.NATIVE)
        assert "A result of more than 5 MiB makes its task fail" in texts(told, Section.REFUSED)

    @pytest.mark.parametrize(
        ("size", "told"),
        [(8 << 20, "8 MiB"), (16_000_000, "16 MB"), (1 << 30, "1 GiB"), (3 << 10, "3 KiB"), (1_001, "1,001 bytes")],
    )  # fmt: skip
    def test_sizes(self, size, told):
        assert f"Results of up to {told}." in texts(of_backend(evolve(BACKEND, largest_value_bytes=size)))

    def test_a_cache(self):
        told = of_backend(evolve(BACKEND, durability=Durability.CACHE))
        assert "`ResultLost`" in texts(told, Section.CRASH)

    def test_one_that_keeps_nothing(self):
        told = of_backend(evolve(BACKEND, stores=False))
        assert "groups, chords and locks are refused" in texts(told, Section.REFUSED)
        assert texts(told, Section.NATIVE) == ""


class TestPair:
    def test_one_store(self):
        told = of_pair(evolve(BROKER, store="here"), evolve(BACKEND, store="here"))
        assert "in one step" in texts(told, Section.NATIVE)
        assert "recorded as pending that never runs" not in texts(told)

    @pytest.mark.parametrize(("one", "other"), [("here", "there"), (None, None), ("here", None)])
    def test_two_stores(self, one, other):
        told = of_pair(evolve(BROKER, store=one), evolve(BACKEND, store=other))
        assert "in two steps" in texts(told, Section.SUPPLIED)
        assert "recorded as pending that never runs" in texts(told, Section.CRASH)

    def test_large_arguments(self):
        small = evolve(BROKER, largest_message_bytes=1 << 20)
        assert "too large for a message of 1 MiB are kept in the backend" in texts(
            of_pair(small, BACKEND), Section.SUPPLIED
        )
        refused = texts(of_pair(small, evolve(BACKEND, stores=False)), Section.REFUSED)
        assert "A message of more than 1 MiB is refused" in refused
        both = texts(of_pair(small, evolve(BACKEND, largest_value_bytes=5 << 20)), Section.REFUSED)
        assert both == "A message of more than 5 MiB is refused: neither can store it."
        less = of_pair(evolve(BROKER, largest_message_bytes=5 << 20), evolve(BACKEND, largest_value_bytes=1 << 20))
        assert (
            texts(less, Section.REFUSED) == "A message of more than 5 MiB is refused: the backend stores none as large."
        )
        assert "large" not in texts(less, Section.SUPPLIED)
        cache = texts(of_pair(small, evolve(BACKEND, durability=Durability.CACHE)), Section.CRASH)
        assert "large arguments may be dropped" in cache

    def test_a_backend_of_one_process_with_a_shared_broker(self):
        told = of_pair(BROKER, evolve(BACKEND, shared=False))
        assert "Use a backend that is shared" in texts(told, Section.REFUSED)
        assert "Use a backend that is shared" not in texts(of_pair(BROKER, BACKEND))

    def test_what_runs_again(self):
        assert "one that has ended is not" in texts(of_pair(BROKER, BACKEND), Section.CRASH)
        assert "one that has ended is not" not in texts(of_pair(BROKER, evolve(BACKEND, durability=Durability.CACHE)))
        assert "cannot continue" in texts(of_pair(BROKER, evolve(BACKEND, durability=Durability.NONE)), Section.CRASH)


class TestStrangers:
    """Third-party drivers, which may know more than this version of drivetrain, or less."""

    def test_an_unknown_durability_promises_nothing(self):
        class Theirs(StrEnum):
            TWO_SITES = "two sites"

        told = texts(of_broker(evolve(BROKER, durability=Theirs.TWO_SITES)), Section.CRASH)
        assert "the durability 'two sites', which this version of drivetrain does not know" in told
        assert "No message is lost" not in told
        assert "'two sites'" in texts(of_backend(evolve(BACKEND, durability=Theirs.TWO_SITES)), Section.CRASH)

    def test_one_that_is_written_as_text_is_known(self):
        assert texts(of_broker(evolve(BROKER, durability="power"))) == texts(of_broker(BROKER))

    def test_a_hold_that_is_unknown(self):
        told = of_broker(evolve(BROKER, hold="by a lawyer"))
        assert "the hold 'by a lawyer'" in texts(told, Section.CRASH)
        assert "A message is held" not in texts(told, Section.NATIVE)

    def test_more_capabilities_than_we_know(self):
        @frozen(kw_only=True)
        class Theirs(BrokerCapabilities):
            replicas: int = 3

        told = texts(of_broker(Theirs(durability=Durability.POWER)))
        assert "declares replicas 3, which this version of drivetrain does not know" in told

    def test_numbers_that_are_none(self):
        odd = evolve(BROKER, priority_levels="many", largest_message_bytes="1 MB", longest_delay_seconds="long")
        told = texts(of_broker(odd))
        assert "Priorities are not supported" in told
        assert "up to 1 MB bytes" in told
        assert "up to long seconds" in told


class TestCommand:
    def test_an_app(self, project, run):
        outcome = run("describe", "shop:app")
        assert outcome.exit_code == 0
        lines = outcome.stdout.splitlines()
        assert lines[0] == "broker  sqlite:///work.db?synchronous=…, namespace drivetrain"
        assert "backend  sqlite:///work.db?synchronous=…, namespace drivetrain" in lines
        assert "    - A task is recorded and published in one step: both, or neither." in lines
        assert "or the machine loses power" in " ".join(outcome.stdout.split())  # synchronous=normal

    def test_it_asks_no_service_and_shows_no_secret(self, project, run):
        url = "drivetrain-test://user:pass-word@host.invalid/x?token=tok-en"
        outcome = run("describe", "--broker", "sqlite:///other.db?synchronous=full", "--backend", url)
        assert outcome.exit_code != 0  # nobody has such a driver
        assert "pass-word" not in outcome.output
        assert "tok-en" not in outcome.output
        assert not (project / "other.db").exists()

    def test_json(self, project, run_json):
        code, document = run_json("describe", "--broker", "memory://one", "--backend", "null://")
        assert code == 0
        assert list(document) == ["broker", "backend", "together"]
        assert document["broker"]["url"] == "memory://one"
        assert (
            "Its queues live in one process: workers in other processes are refused."
            in (document["broker"][Section.REFUSED.value])
        )
        assert any("groups, chords and locks are refused" in one for one in document["backend"][Section.REFUSED.value])

    def test_a_driver_that_writes_to_the_terminal(self, project, run, monkeypatch):
        """What a stranger declares is shown, and moves no cursor."""
        (project / "odd.py").write_text(
            "import sys\n"
            "from attrs import evolve\n"
            "from drivetrain import App\n"
            "from drivetrain.contract import hookimpl\n"
            "\n"
            "\n"
            "@hookimpl\n"
            "def make_broker(url, context):\n"
            "    from drivetrain.app.discovery import Drivers\n"
            "    made = Drivers(context).broker('memory://odd')\n"
            "    made.capabilities = evolve(made.capabilities, durability='\\x1b[2J')\n"
            "    return made\n"
            "\n"
            "\n"
            "app = App('odd://user:pass-word@place?token=tok-en', 'memory://odd', plugins=[sys.modules[__name__]])\n"
        )
        outcome = run("describe", "odd:app")
        assert outcome.exit_code == 0, outcome.output
        assert "\x1b" not in outcome.output
        assert "broker  odd://***@place?token=…" in outcome.stdout
        assert "pass-word" not in outcome.output
        assert "tok-en" not in outcome.output
        assert json.loads(run("describe", "odd:app", "--json").stdout)["broker"]["url"] == "odd://***@place?token=…"

    def test_nothing_to_describe(self, project, run):
        outcome = run("describe")
        assert outcome.exit_code == 2
        assert "no app and no broker given" in outcome.stderr
