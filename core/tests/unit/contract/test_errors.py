"""`drivetrain.contract.errors`: one tree, and messages that say what to do."""

import inspect
import pickle

import pytest

from drivetrain.contract import (
    ConfigurationError,
    DrivetrainError,
    Failure,
    InvalidArguments,
    InvalidSignature,
    NotSupported,
    PublishFailed,
    ResultError,
    ResultTimeout,
    ServiceError,
    ServiceUnavailable,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TooLarge,
    UnknownResult,
    UnknownTask,
    errors,
)

FAILURE = Failure(
    type="builtins.ValueError", message="boom", traceback="Traceback: boom", task="mod.add", task_id="t1", attempt=2
)


def test_every_error_is_in_the_tree_and_in_its_description():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert {kind.__name__ for kind in kinds} == set(errors.__all__)
    for kind in kinds:
        assert issubclass(kind, DrivetrainError)
        assert kind.__name__ in errors.__doc__


def test_every_error_is_exported():
    import drivetrain.contract as contract

    assert set(errors.__all__) <= set(contract.__all__)


def test_errors_that_are_pythons_too():
    assert issubclass(InvalidArguments, TypeError)
    assert issubclass(InvalidArguments, InvalidSignature)
    assert issubclass(ResultTimeout, TimeoutError)
    assert issubclass(NotSupported, ConfigurationError)


def test_a_configuration_error_lists_all_its_faults():
    error = ConfigurationError("the URL is wrong", ["no host", "no name"])
    assert error.faults == ("no host", "no name")
    assert str(error) == "the URL is wrong\n  - no host\n  - no name"
    assert str(ConfigurationError("plain")) == "plain"
    assert ConfigurationError("plain").faults == ()


def test_the_error_of_an_unknown_task_lists_the_known_ones():
    error = UnknownTask("mod.x", ["mod.b", "mod.a"])
    assert error.name == "mod.x"
    assert "mod.a, mod.b" in str(error)
    assert "none" in str(UnknownTask("mod.x"))


def test_too_large_says_how_large():
    error = TooLarge("message m", 300, 256)
    assert (error.size, error.limit) == (300, 256)
    assert str(error) == "message m has 300 bytes, and the service takes at most 256"
    assert isinstance(error, ServiceError)


def test_publish_failed_says_which():
    causes = {f"m{number}": ServiceUnavailable(f"cause {number}") for number in range(5)}
    error = PublishFailed(causes)
    assert error.failures == causes
    assert "5 message(s)" in str(error)
    assert "m0: cause 0" in str(error)
    assert "m4" not in str(error)


@pytest.mark.parametrize("kind", [TaskFailed, TaskCancelled, TaskExpired])
def test_a_failure_is_carried_and_shown(kind):
    error = kind("t1", FAILURE)
    assert (error.task_id, error.failure) == ("t1", FAILURE)
    assert isinstance(error, TaskFailed)
    text = str(error)
    for part in ("mod.add", "t1", "attempt 2", "builtins.ValueError: boom", "Traceback: boom"):
        assert part in text


def test_a_failure_further_up_names_both_tasks():
    text = str(TaskFailed("waiting", FAILURE))
    assert "t1" in text
    assert "waiting" in text


def test_a_result_error_names_its_task():
    assert UnknownResult("t1").task_id == "t1"
    assert "t1" in str(UnknownResult("t1"))
    assert ResultTimeout("t1", "not finished").task_id == "t1"
    assert isinstance(UnknownResult("t1"), ResultError)


def test_a_failure_crosses_processes():
    assert pickle.loads(pickle.dumps(FAILURE)) == FAILURE
