"""Soft time limits: an exception in the task, once, in each pool; the hard limit stays."""

import asyncio
import threading

import pytest

from drivetrain import InvalidSignature, SoftTimeout, TaskFailed, current_task, retry

SOFT = "drivetrain.worker.context.SoftTimeout"
HARD = "drivetrain.worker.context.TaskTimeout"


def _failure(handle):
    with pytest.raises(TaskFailed) as raised:
        handle.get(timeout=60)
    return raised.value.failure.type


def _wait():
    while True:
        threading.Event().wait(0.01)


async def _wait_async():
    await asyncio.Event().wait()


@pytest.mark.parametrize("wait", [_wait, _wait_async], ids=["threads", "loop"])
def test_it_is_an_error_of_the_task_that_a_policy_retries(memory_app, wait):
    app = memory_app
    policy = retry.fixed(0, max_retries=1, retry_on=[SoftTimeout])
    app.task(name="slow", soft_timeout=0.05, retry=policy)(wait)
    with app.worker():
        handle = app.send(app.signature("slow"))
        assert _failure(handle) == SOFT
        assert handle.record().attempt == 1


def test_a_task_in_a_thread_may_catch_it_and_clean_up(memory_app):
    app = memory_app

    @app.task(name="tidy", soft_timeout=0.05, timeout=60)
    def tidy() -> str:
        try:
            _wait()
        except SoftTimeout:
            return f"after {current_task().soft_timeout} s"

    with app.worker():
        assert tidy.send().get(timeout=60) == "after 0.05 s"


def test_a_coroutine_may_catch_it_and_go_on_waiting(memory_app):
    app = memory_app

    @app.task(name="tidy", soft_timeout=0.05, timeout=60)
    async def tidy() -> str:
        try:
            await _wait_async()
        except SoftTimeout:
            await asyncio.sleep(0.05)
            return "cleaned up"

    with app.worker():
        assert tidy.send().get(timeout=60) == "cleaned up"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "loop"])
def test_the_hard_limit_ends_a_task_that_ignores_the_soft_one(memory_app, asynchronous):
    app = memory_app

    @app.task(name="stubborn", soft_timeout=0.05, timeout=0.2)
    def stubborn() -> None:
        try:
            _wait()
        except SoftTimeout:
            _wait()

    @app.task(name="stubborn.async", soft_timeout=0.05, timeout=0.2)
    async def stubborn_async() -> None:
        try:
            await _wait_async()
        except SoftTimeout:
            await _wait_async()

    task = stubborn_async if asynchronous else stubborn
    with app.worker():
        assert _failure(task.send()) == HARD


def test_a_cancelled_coroutine_with_a_soft_limit_is_cancelled(memory_app):
    app, began, ended = memory_app, threading.Event(), threading.Event()

    @app.task(name="slow", soft_timeout=60)
    async def slow() -> None:
        began.set()
        try:
            await _wait_async()
        except asyncio.CancelledError:
            ended.set()
            raise

    with app.worker(lease_seconds=0.3):
        handle = slow.send()
        assert began.wait(60)
        handle.cancel()
        assert ended.wait(60)


def test_a_soft_limit_in_a_child_process(children):
    with children.app.worker():
        assert children.lingers.send().get(timeout=60) == "cleaned up"


def test_a_signature_has_its_own_soft_limit(memory_app):
    app = memory_app
    slow = app.task(name="slow")(_wait)
    with app.worker():
        assert _failure(slow.s().set(soft_timeout=0.05).send()) == SOFT


def test_a_soft_limit_that_comes_after_the_hard_one_is_refused(memory_app):
    with pytest.raises(InvalidSignature, match="soft_timeout is 5 s and timeout is 5 s; the soft one must be less"):
        memory_app.task(soft_timeout=5, timeout=5)(_wait)
