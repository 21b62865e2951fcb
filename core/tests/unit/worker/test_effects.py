"""Effects of members that end at the same time, and of workers that stop halfway; on both embedded drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from drivetrain import App, State, chord, group, hookimpl
from drivetrain.contract import Message
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import Publisher
from drivetrain.worker.retrying import Retrier
from drivetrain.workflow.advance import Failed, advance
from drivetrain.workflow.frames import Frames
from drivetrain.workflow.signature import Signature, Workflow
from drivetrain.workflow.wire import load_invocation


def work(*_values: Any) -> None:
    """A task. It is not run: the test ends it itself."""


class Publishes:
    """Notes the tasks that are published. Calls ``then`` once, right before a task that is named ``trigger``."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.then: Callable[[], None] | None = None

    @hookimpl
    def before_publish(self, messages: Sequence[Message]) -> None:
        self.ids += [message.id for message in messages]
        then, self.then = self.then, None
        if then is not None:
            then()


class Died(BaseException):
    """The worker dies."""


@pytest.fixture
def publishes() -> Publishes:
    return Publishes()


@pytest.fixture(params=["memory", "two stores", "sqlite"])
def app(request, tmp_path, publishes) -> Iterator[App]:
    file = f"sqlite:///{tmp_path}/work.db"
    broker, backend = {"memory": ("memory://", None), "two stores": ("memory://", file), "sqlite": (file, None)}[
        request.param
    ]
    with App(broker, backend=backend, plugins=[publishes]) as made:
        made.task(name="work")(work)
        yield made


def _chord() -> Workflow[Any]:
    """Two members, and a callback whose error callback is sent when one of them fails."""
    member, caught = Signature(task="work"), Signature(task="work").set(task_id="caught")
    return chord(group(member, member), Signature(task="work").set(on_error=[caught]))


def _sent_members(app: App) -> list[Frames]:
    """The frames of the members of all groups that were sent."""
    deliveries = app.runtime.broker.receive(["default"], limit=10, wait_seconds=1, hold_seconds=60)
    members = []
    for delivery in deliveries:
        message = delivery.message
        body = app.runtime.payloads.load_body(message.headers.get(CONTENT_TYPE_HEADER), message.body)
        members.append(load_invocation(body).frames)
    return members


def _fail(app: App, frames: Frames, cause: str, *, state: State = State.FAILURE) -> None:
    """What a worker does when this member of a group has failed."""
    runtime = app.runtime
    retrier = Retrier(runtime.clock, limit_seconds=5)
    runner = EffectRunner(runtime, Publisher(runtime, retrier, worker=True), retrier, worker=f"worker of {cause}")
    runner.perform(advance(frames, Failed(cause, None, state)))


@pytest.mark.parametrize("state", [State.FAILURE, State.EXPIRED])
def test_of_members_that_fail_at_once_one_sends_what_follows(app, publishes, state):
    """The second member fails after the first has completed its group, and before it has recorded the group's end."""
    handle = app.send(_chord())
    first, second = _sent_members(app)
    publishes.then = lambda: _fail(app, second, "the second", state=state)
    _fail(app, first, "the first", state=state)
    assert publishes.ids.count("caught") == 1
    assert handle.state() is state


def test_a_worker_that_dies_before_it_sends_what_follows_does_so_after_its_redelivery(app, publishes):
    handle = app.send(_chord())
    first, second = _sent_members(app)

    def die() -> None:
        publishes.ids.remove("caught")
        raise Died

    publishes.then = die
    with suppress(Died):
        _fail(app, first, "the first")
    _fail(app, second, "the second")
    assert "caught" not in publishes.ids, "the first still holds what follows"
    _fail(app, first, "the first")
    assert publishes.ids.count("caught") == 1
    assert handle.state() is State.FAILURE
