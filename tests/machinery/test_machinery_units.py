"""What Machinery's backend and unit tests assert (section 4.2 of its reference), as tests of ours.

What its backend tests say of states and groups is the contract here, whose suite certifies every backend; the page
docs/from-machinery.md names the clauses. Here stands the rest: calls, curves, locks, configuration, URLs.
"""

from random import Random

import pytest

from drivetrain import App, InvalidArguments, LockHeld, State, TaskFailed, UnknownResult, current_task, retry
from drivetrain.contract import redact
from support.waiting import until

WAIT = 30.0
EACH = pytest.mark.parametrize("pair", ["memory", "sqlite", "redis"])


@EACH
def test_states_go_forward_and_name_and_creation_stay(make, pair):
    """`GetState`: PENDING, RECEIVED, STARTED, SUCCESS; when it was sent is known to the end; results are there."""
    app = make(pair)
    with pytest.raises(UnknownResult):
        app.result("nobody").record()
    handle = app.add.send(1, 1)
    # A lone task has its record from its start; until then its message is what there is of it.
    assert handle.wait(timeout=0) is False
    with app.worker():
        assert handle.get(timeout=WAIT) == 2
    record = handle.record()
    assert (record.task, record.state, record.attempt) == ("add", "SUCCESS", 0)
    assert list(record.history)[-1] == "SUCCESS"
    assert record.history[State.STARTED].at <= record.history[State.SUCCESS].at


@EACH
def test_a_result_that_was_purged_is_gone(make, pair):
    """`PurgeState`: readable, then an error."""
    app = make(pair, redelivery_window_seconds=0)
    with app.worker():
        handle = app.add.send(1, 1)
        assert handle.get(timeout=WAIT) == 2
        until(lambda: app.operations.sizes(["default"])["default"].in_flight == 0, "its message is settled")
    handle.forget()
    with pytest.raises(UnknownResult):
        handle.get(timeout=WAIT)


def test_the_text_of_an_error_is_stored_and_a_retry_is_not_a_failure(make):
    """`TaskCallErrorTest`."""
    app = make("memory")

    @app.task(name="later")
    def later() -> int:
        if current_task().attempt == 0:
            from drivetrain import Retry

            raise Retry("some error", after=0.01)
        return 1

    with app.worker():
        assert later.send().get(timeout=WAIT) == 1
        with pytest.raises(TaskFailed) as error:
            app.just_error.send("some error", fail=True).get(timeout=WAIT)
    assert error.value.failure.message == "some error"
    assert error.value.failure.type == "builtins.RuntimeError"


def test_an_invalid_argument_is_an_error_where_it_is_sent(make):
    """`TaskCallInvalidArg`, with a float and a text in the place of an int; a bool is one, as in Python."""
    app = make("memory")
    for wrong, shown in ((1.5, r"1\.5 \(float\)"), ("1", r"'1' \(str\)")):
        with pytest.raises(InvalidArguments, match=f"expects int, got {shown}"):
            app.add.send(1, wrong)


def test_a_running_task_knows_its_signature(make):
    """`TaskCallWithSignatureInContext`, and its attempt (W29)."""
    app = make("memory")

    @app.task(name="who")
    def who() -> tuple[str, str, int, dict[str, str]]:
        me = current_task()
        return me.task_id, me.task, me.attempt, dict(me.headers)

    with app.worker():
        handle = who.si().set(headers={"traceparent": "00-ab-cd-01"}).send()
        assert handle.get(timeout=WAIT) == (handle.id, "who", 0, {"traceparent": "00-ab-cd-01"})
    with pytest.raises(RuntimeError, match="no task runs here"):
        current_task()


@pytest.mark.parametrize(("start", "told"), [(1, [1, 2, 3, 5, 8, 13]), (3, [3, 5, 8, 13, 21, 34])])
def test_the_curve_of_fibonacci(start, told):
    """`Fibonacci`, `FibonacciNext`: a start value shifts the curve."""
    made = retry.fibonacci(start=start, max_retries=6)
    with App("memory://") as app:
        policy = app.runtime.retry_policy(made.policy, made.parameters)
    assert [policy.delay_seconds(number, Random(0)) for number in range(1, 7)] == told


@EACH
def test_a_lock_has_one_holder_whatever_the_program_is_called(make, pair):
    """`Lock`, `LockWithRetries`; the name is what was given, not made of the program's (W20)."""
    app, other = make(pair), make(pair)
    with app.lock("nightly", seconds=60), pytest.raises(LockHeld), other.lock("nightly"):
        raise AssertionError
    with other.lock("nightly", seconds=60) as lock:
        assert lock.token > 0


def test_urls_are_shown_without_secrets():
    """`RedactURL`, and URLs of several hosts and of sockets (W49)."""
    for url in (
        "amqp://guest:hunter2@localhost:5672/",
        "redis://:hunter2@a:1,b:2/0",
        "redis+socket://user:hunter2@/tmp/redis.sock",
        "redis+sentinel://a:1,b:2/main/0?password=hunter2",
    ):
        assert "hunter2" not in redact(url)


def test_a_task_is_registered_once_found_and_listed(make):
    """Registration, lookup, names."""
    app = make("memory", only={"add", "same"})
    assert sorted(app.tasks) == ["add", "same"]
    assert "nobody" not in app.tasks
