"""What a failing check tells its reader: the first error, what the driver was asked, and one word of an outage."""

from __future__ import annotations

import threading

import pytest

from drivetrain.contract import BrokerCapabilities, Durability, QueueSection, ServiceUnavailable, ValueWrite, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from drivetrain_contract_tests import PROFILES, BrokerContract, Service
from drivetrain_contract_tests.brokers.base import message
from drivetrain_contract_tests.clauses import check_of
from drivetrain_contract_tests.contract import NotRun
from drivetrain_contract_tests.drivers_under_test import of_service
from drivetrain_contract_tests.failure import reason_of, text_of
from drivetrain_contract_tests.reaching import must_be_usable, taking_turns
from drivetrain_contract_tests.transcript import Transcript
from mutants.broker_base import local


def contract(service, **fields):
    """A class of checks as an author writes it."""
    kind = type("TestIt", (BrokerContract,), {"profile": PROFILES["quick"], "__module__": __name__, **fields})
    kind.service = service
    return kind


# The text


def test_the_first_of_several_errors_is_reported():
    group = ExceptionGroup("Hypothesis found 2 distinct failures.", [AssertionError("the first"), ValueError("other")])
    assert reason_of(group, "It holds.") == "the first"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AssertionError("assert False"), "It holds. Found: assert False"),
        (AssertionError("3 messages came\nassert 3 == 1"), "3 messages came"),
        (KeyError("q"), "KeyError: 'q'"),
        (ValueError(), "ValueError: without a message"),
    ],
)
def test_a_reason_has_the_meaning_of_an_error_without_a_text(error, told):
    assert reason_of(error, "It holds.") == told


def test_a_failure_begins_with_its_clause_and_ends_with_where_it_was_noticed():
    function = BrokerContract.test_what_is_acknowledged_is_gone
    try:
        raise AssertionError("it came again")
    except AssertionError as error:
        lines = text_of(check_of(function), function, "test_it", error, "broker1.ping()").splitlines()
    assert lines[0] == "B15: An acknowledged message never comes back, except after a crash of the service (B40)."
    assert "    broker1.ping()" in lines
    assert "    AssertionError: it came again" in lines


# The script


def test_what_was_asked_is_a_script_that_does_the_same():
    transcript, service = Transcript(), Service()
    namespace = service.namespace()
    broker = transcript.record(service.broker(namespace), service.expression("broker", service.namespace()))
    broker.publish([message(f"{number}") for number in range(300)])
    broker.publish([message("odd \x00 é", "q2", headers={"a": "b" * 100}, priority=3, body=b"\xff" * 5_000)])
    taken = broker.receive(["q", "q2"], limit=400, wait_seconds=0, hold_seconds=60)
    broker.release(taken[:100], delay_seconds=3600.0)
    broker.acknowledge([taken[100], taken[300]])
    broker.dead_letter([(each, "why") for each in taken[101:110]])
    expected = broker.sizes(["q", "q2"])

    found = {}
    exec(compile(transcript.script(), "script", "exec"), found)
    assert found["broker1"].sizes(["q", "q2"]) == expected
    assert [each.id for each in found["broker1"].peek("q", QueueSection.DEAD, limit=99)] == [
        f"{number}" for number in range(101, 110)
    ]


def test_a_script_of_versioned_values_names_the_versions_that_it_was_given():
    transcript, service = Transcript(), Service()
    namespace = service.namespace()
    service.backend(namespace).write_values([ValueWrite(key="other", value=b"")] * 5)  # so that versions differ
    backend = transcript.record(service.backend(namespace), service.expression("backend", service.namespace()))
    first, _ = backend.write_values([ValueWrite(key="a", value=b"1", if_version=0), ValueWrite(key="b", value=b"2")])
    backend.write_values([ValueWrite(key="a", value=b"3" * 5_000, if_version=first.current.version)])
    backend.write_values([ValueWrite(key="b", value=None, if_version=77, expires_in_seconds=None)])
    script = transcript.script()
    assert "if_version=written0[0].current.version" in script
    assert "1 outcomes: refused, version" in script

    found = {}
    exec(compile(script, "script", "exec"), found)
    assert [each.value for each in found["backend1"].read_values(["a", "b"])] == [b"3" * 5_000, b"2"]


def test_a_script_shows_answers_and_errors_and_no_password():
    service = Service(lambda namespace: f"redis://user:s3cret@localhost/0?namespace={namespace}")
    transcript = Transcript()
    broker = transcript.record(MemoryBroker("", None), service.expression("broker", "n"))
    with pytest.raises(AttributeError):
        broker.publish([message()])
    script = transcript.script()
    assert "raised AttributeError" in script
    assert "redis://user:***@localhost/0?namespace=n" in script
    assert "s3cret" not in script


# The service


class Away(MemoryBroker):
    """A broker whose service is away."""

    def ping(self):
        raise ServiceUnavailable("nobody listens on port 1")


def test_an_unreachable_service_is_reported_once():
    kind = contract(local(Away))
    with pytest.raises(AssertionError, match="cannot be reached; the other checks are not run: .*nobody listens"):
        must_be_usable(kind)
    with pytest.raises(NotRun, match="cannot be reached"):
        must_be_usable(kind)


def test_a_stopped_service_is_reported_until_it_works_again():
    reached = [False]

    class Sometimes(MemoryBroker):
        def ping(self):
            if not reached[0]:
                raise ServiceUnavailable("away")

    def fails():
        raise OSError("the server is stopped already")

    service = evolve(local(Sometimes), stop=fails, start=fails)
    other = evolve(service, prelude="another fixture of the same server")
    with pytest.raises(OSError, match="stopped already"), service.stopped():
        pass
    kind = contract(other)
    with pytest.raises(NotRun, match="left stopped"):
        must_be_usable(kind)
    reached[0] = True
    must_be_usable(kind)
    assert other.fault is None


def test_a_service_is_started_when_stopping_it_has_failed():
    started = []

    def fails():
        raise OSError("stopped already")

    service = Service(stop=fails, start=lambda: started.append(True))
    with pytest.raises(OSError, match="stopped already"), service.stopped():
        pass
    assert started == [True]
    assert service.fault is None


def test_patience_is_short_once_something_has_not_come():
    kind = contract(local(MemoryBroker), patience_seconds=0.02)
    with pytest.raises(AssertionError, match=r"0 of 1 messages came from \('q',\) in 0.02 seconds"):
        kind().take(kind().fresh())
    slow = contract(local(MemoryBroker), patience_seconds=60.0)
    with pytest.raises(AssertionError, match="the checks that follow wait for 10 seconds"):
        slow().lose_patience("nothing came")
    assert slow.patience_seconds == 10.0
    assert BrokerContract.patience_seconds == 60.0


def test_a_check_that_stops_the_service_is_alone_with_it():
    kind = contract(Service(stop=lambda: None, start=lambda: None))
    inside, leave, alone = threading.Event(), threading.Event(), threading.Event()

    def look():
        with taking_turns(kind, "run", alone=False):
            inside.set()
            leave.wait(30)

    def stop():
        with taking_turns(kind, "run", alone=True):
            alone.set()

    looking, stopping = threading.Thread(target=look), threading.Thread(target=stop)
    looking.start()
    assert inside.wait(30)
    stopping.start()
    assert not alone.wait(0.2)
    leave.set()
    assert alone.wait(30)
    looking.join()
    stopping.join()


def test_a_report_does_not_name_the_store():
    class Stored(MemoryBroker):
        capabilities = BrokerCapabilities(durability=Durability.NONE, store="postgresql://private.host/payroll")

    [driver] = [each.document() for each in contract(local(Stored)).subjects()]
    assert driver["capabilities"]["store"] == "declared"
    assert of_service(contract(Service()).subjects()[0].kind, Service()).document()["capabilities"]["store"] is None
