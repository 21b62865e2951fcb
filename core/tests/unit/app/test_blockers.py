"""What a pending handle says it waits for."""

import asyncio

import pytest

from drivetrain import App, ResultTimeout, Retry, ServiceError, State, chain, chord, group
from drivetrain.contract import ValueWrite
from drivetrain.testing import VirtualTime
from drivetrain.worker.status import WorkerStatus, status_key
from drivetrain.worker.value_codec import encode


@pytest.fixture
def app():
    app = App("memory://")

    @app.task(name="one", queue="ones")
    def one(*_values):
        return 1

    @app.task(name="again", queue="ones")
    def again():
        raise Retry("not yet", after=600)

    with VirtualTime(app) as app.time:
        yield app


def named(app, name, task_id, **options):
    return app.signature(name).set(task_id=task_id, **options)


def serve(app, name, *queues):
    """Report a live worker."""
    now = app.time.now().timestamp()
    status = WorkerStatus(
        name=name, host="h", pid=1, version="1", queues=queues, slots={"threads": 1}, started=now, reported=now
    )
    app.runtime.backend.write_values([ValueWrite(key=status_key(name), value=encode(status))])


def waiting(app, task_id):
    return str(app.result(task_id).waits_for())


def test_a_task_waits_for_a_worker(app):
    app.send(named(app, "one", "a", queue="nobody"))
    assert waiting(app, "a") == "PENDING, queue 'nobody', served by no worker"
    serve(app, "w1", "ones", "nobody")
    serve(app, "w2", "ones")
    assert waiting(app, "a") == "PENDING, queue 'nobody', served by worker w1"


def test_a_task_waits_for_its_predecessor(app):
    app.send(chain(named(app, "one", "a", queue="nobody"), named(app, "one", "b"), named(app, "one", "c")))
    expected = "waits for a (PENDING, queue 'nobody', served by no worker)"
    assert (waiting(app, "b"), waiting(app, "c")) == (expected, expected)
    (blocker,) = app.result("c").waits_for().blockers
    assert (blocker.task_id, blocker.state, blocker.queue, blocker.workers) == ("a", State.PENDING, "nobody", ())


def test_paused_queues_are_named_with_the_reason(app):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b")))
    app.operations.pause("ones", why="provider down")
    assert waiting(app, "b") == (
        "waits for a (PENDING, queue 'ones', which is paused: provider down, served by no worker)"
    )


def test_a_chord_waits_for_unfinished_members(app):
    members = [named(app, "one", f"m{number}", queue="ones" if number < 2 else "nobody") for number in range(8)]
    app.send(chord(members, named(app, "one", "z")))
    app.worker(queues=["ones"]).drain()
    nobody = "(PENDING, queue 'nobody', served by no worker)"
    assert waiting(app, "z") == f"waits for m2 {nobody}, m3 {nobody}, m4 {nobody} and 3 more"


def test_a_member_of_several_tasks_is_named_by_the_task_that_it_has_come_to(app):
    member = chain(named(app, "one", "m"), named(app, "one", "n", queue="nobody"))
    app.send(chain(group([named(app, "one", "o"), member]).set(group_id="g"), named(app, "one", "z")))
    app.worker(queues=["ones"]).drain()
    for task_id in ("g", "z"):
        assert waiting(app, task_id) == "waits for n (PENDING, queue 'nobody', served by no worker)"


def test_what_is_behind_groups_that_are_not_open_waits_for_what_is_before_them(app):
    inner = group([chain(named(app, "one", "m"), named(app, "one", "n"))]).set(group_id="g")
    app.send(chain(named(app, "one", "a", queue="nobody"), inner, named(app, "one", "z")))
    for task_id in ("g", "m", "n", "z"):
        assert waiting(app, task_id) == "waits for a (PENDING, queue 'nobody', served by no worker)"


def test_a_retry_says_when_it_is_due(app):
    app.send(chain(named(app, "again", "a"), named(app, "one", "b")))
    app.worker(queues=["ones"], retry_limit=3).drain()
    due = (app.time.now().timestamp() // 1) + 600
    text = waiting(app, "b")
    assert text.startswith("waits for a (RETRY, due at ")
    assert str(app.result("b").waits_for().blockers[0].due // 1) == str(due)


def test_what_runs_is_named_with_its_worker(app):
    seen = []

    @app.task(name="looks", queue="ones")
    def looks():
        seen.append(waiting(app, "b"))

    app.send(chain(named(app, "looks", "a"), named(app, "one", "b")))
    app.worker(queues=["ones"], name="w1").drain()
    assert seen[0].startswith("waits for a (STARTED, on worker w1, since ")
    assert waiting(app, "b") == ""


def test_a_time_out_says_it_and_so_does_repr_from_then_on(app):
    app.send(chain(named(app, "one", "a", queue="nobody"), named(app, "one", "b")))
    handle = app.result("b")
    assert repr(handle) == "<Result b>"
    expected = "waits for a (PENDING, queue 'nobody', served by no worker)"
    with pytest.raises(ResultTimeout) as caught:
        handle.get(timeout=2)
    assert str(caught.value).endswith(f"so you can wait again. It {expected}")
    assert repr(handle) == f"<Result b, {expected}>"
    with pytest.raises(ResultTimeout, match="It is PENDING, queue 'nobody', served by no worker"):
        app.result("a").get(timeout=2)

    async def wait():
        await app.result("b").get_async(timeout=2)

    with pytest.raises(ResultTimeout, match="waits for a"):
        asyncio.run(wait())


def test_a_short_wait_costs_no_further_reads(app, monkeypatch):
    app.send(named(app, "one", "a", queue="nobody"))
    handle = app.result("a")
    monkeypatch.setattr("drivetrain.app.result.find_blockers", None)
    with pytest.raises(ResultTimeout, match="wait again$"):
        handle.get(timeout=0.5)


def test_a_time_out_while_the_reason_cannot_be_read_is_a_time_out(app, monkeypatch):
    def fails(*_):
        raise ServiceError("away")

    app.send(named(app, "one", "a", queue="nobody"))
    monkeypatch.setattr("drivetrain.app.result.find_blockers", fails)
    with pytest.raises(ResultTimeout, match="wait again$"):
        app.result("a").get(timeout=2)
