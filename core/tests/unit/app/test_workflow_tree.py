"""The tree of a workflow, from any of its ids, at any time."""

import json
from datetime import timedelta

import msgspec
import pytest

from drivetrain import App, NotSupported, State, UnknownResult, chain, group
from drivetrain.cli.workflow_lines import tree_lines
from drivetrain.contract import Transition, evolve
from drivetrain.testing import VirtualTime
from drivetrain.worker import downstream


@pytest.fixture(params=["memory", "sqlite"])
def app(request, tmp_path):
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/work.db"
    app = App(url, result_retention_seconds=3600)

    @app.task(name="one", queue="ones")
    def one(*_values):
        return 1

    @app.task(name="bad", queue="bads")
    def bad(*_values):
        raise ValueError("bad")

    if request.param == "memory":
        with VirtualTime(app) as app.time:
            yield app
    else:
        yield app
        app.close()


@pytest.fixture
def timed():
    app = App("memory://", result_retention_seconds=3600, redelivery_window_seconds=60)

    @app.task(name="one", queue="ones")
    def one(*_values):
        return 1

    with VirtualTime(app) as time:
        app.time = time
        yield app


def drain(app):
    if not hasattr(app, "drainer"):  # a second worker would have a broker of its own
        app.drainer = app.worker(queues=["ones", "bads", "default"])
    while app.drainer.drain():
        pass


def named(app, name, task_id, **options):
    return app.signature(name).set(task_id=task_id, **options)


def shape(steps):
    """Steps as ``(id, what is known of the state)``, members and callbacks in lists after it."""
    found = []
    for step in steps:
        known = step.state.value if step.state is not None else step.presence.value
        one = [step.id, "waits" if step.waits else known]
        one += [[branch.index, *shape(branch.steps)] for branch in step.branches]
        one += [["success", *shape(steps)] for steps in step.on_success]
        one += [["error", *shape(steps)] for steps in step.on_error]
        found.append(tuple(one))
    return found


def tree(app, task_id, **options):
    return app.operations.workflow(task_id, **options)


def test_a_task_alone(app):
    app.send(named(app, "one", "a"))
    (step,) = tree(app, "a").steps
    assert (step.id, step.task, step.state, step.queue, step.presence) == ("a", "one", "PENDING", "ones", "recorded")
    drain(app)
    (step,) = tree(app, "a").steps
    assert step.state is State.SUCCESS
    assert step.worker
    assert list(step.times) == ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]


def send_all_sorts(app):
    """A chain with a group whose members are a task and a chain, with callbacks everywhere."""
    member = named(app, "bad", "o", on_error=[named(app, "one", "oe")])
    members = group([named(app, "one", "m"), chain(named(app, "one", "n"), member)]).set(group_id="g")
    first = named(app, "one", "a", on_success=[chain(named(app, "one", "as"), named(app, "one", "at"))])
    last = named(app, "one", "z", on_success=[named(app, "one", "zs", on_success=[named(app, "one", "zss")])])
    app.send(chain(first, members, last))


BEFORE = [
    ("a", "PENDING", ["success", ("as", "not sent"), ("at", "not sent")]),
    ("g", "waits", [0, ("m", "waits")], [1, ("n", "waits"), ("o", "waits", ["error", ("oe", "not sent")])]),
    ("z", "waits", ["success", ("zs", "not sent", ["success", ("zss", "not sent")])]),
]
AFTER = [
    ("a", "SUCCESS", ["success", ("as", "SUCCESS"), ("at", "SUCCESS")]),
    ("g", "FAILURE", [0, ("m", "SUCCESS")], [1, ("n", "SUCCESS"), ("o", "FAILURE", ["error", ("oe", "SUCCESS")])]),
    ("z", "FAILURE"),
]


def test_a_workflow_from_any_of_its_ids_before_and_after(app):
    send_all_sorts(app)
    for task_id in "agmnoz":
        found = tree(app, task_id)
        assert (found.id, shape(found.steps)) == ("a", BEFORE)
    drain(app)
    for task_id in ["a", "g", "m", "n", "o", "z", "as", "at", "oe"]:
        found = tree(app, task_id)
        assert (found.id, shape(found.steps)) == ("a", AFTER)
    errors = {step.id: step.error for step in found.all_steps() if step.error}
    assert errors.pop("o") == "builtins.ValueError: bad"
    assert errors == dict.fromkeys("gz", "task o did not succeed: builtins.ValueError: bad")


def test_a_group_that_begins_a_workflow_lists_its_members(app):
    members = [
        named(app, "one", "m"),
        chain(named(app, "one", "n"), named(app, "bad", "o")),
        group([]).set(group_id="e"),
    ]
    app.send(chain(group(members).set(group_id="g", on_member_failure="collect"), named(app, "one", "z")))
    before = [
        ("g", "PENDING", [0, ("m", "PENDING")], [1, ("n", "PENDING"), ("o", "waits")], [2, ("e", "SUCCESS")]),
        ("z", "waits"),
    ]
    for task_id in "gmnoz":
        assert shape(tree(app, task_id).steps) == before
    drain(app)
    after = [
        ("g", "SUCCESS", [0, ("m", "SUCCESS")], [1, ("n", "SUCCESS"), ("o", "FAILURE")], [2, ("e", "SUCCESS")]),
        ("z", "SUCCESS"),
    ]
    for task_id in "gmnoz":
        assert shape(tree(app, task_id).steps) == after
    (step, _) = tree(app, "g").steps
    assert (step.members, step.done, step.states) == (3, 3, {"SUCCESS": 2, "FAILURE": 1})


def test_large_groups_are_folded_and_counted(app):
    app.send(
        group([named(app, "bad" if number == 7 else "one", f"m{number}") for number in range(30)]).set(group_id="g")
    )
    (step,) = tree(app, "g", limit=2).steps
    assert (step.members, step.hidden, step.states) == (30, 28, {"PENDING": 30})
    drain(app)
    (step,) = tree(app, "m9", limit=2).steps
    assert [branch.index for branch in step.branches] == [7, 9], "the failed member, and the one that was asked for"
    assert (step.hidden, step.states) == (28, {"SUCCESS": 29, "FAILURE": 1})
    (step,) = tree(app, "g", limit=0).steps
    assert (step.branches, step.hidden) == ((), 30)


def test_members_beyond_those_that_a_group_lists_are_found_by_their_id(app, monkeypatch):
    monkeypatch.setattr(downstream, "_MOST_BRANCHES_BYTES", 20)
    members = [chain(named(app, "one", f"m{number}"), named(app, "one", f"n{number}")) for number in range(6)]
    app.send(group(members).set(group_id="g"))
    (step,) = tree(app, "g").steps
    assert (len(step.branches), step.members, step.hidden) == (1, 6, 5)
    assert step.states == {"PENDING": 1, "?": 5}
    for task_id in ("m4", "n4"):
        (step,) = tree(app, task_id).steps
        assert [branch.index for branch in step.branches] == [0, 4]
        assert shape(step.branches[1].steps) == [("m4", "PENDING"), ("n4", "waits")]


def test_chains_of_a_thousand(app):
    app.send(chain([named(app, "one", f"c{number}") for number in range(1000)]))
    assert [step.id for step in tree(app, "c500").steps] == [f"c{number}" for number in range(1000)]


def test_workflows_that_are_nested_as_deeply_as_allowed(app):
    workflow = named(app, "one", "deepest")
    for _ in range(99):
        workflow = group([workflow])
    app.send(workflow)
    found = tree(app, "deepest")
    assert len(list(found.all_steps())) == 100
    assert len(list(tree_lines(found))) == 101
    assert json.loads(json.dumps(msgspec.to_builtins(found)))["id"] == found.id


def test_what_has_expired_says_so(timed):
    app = timed
    last = named(app, "one", "d", delay=timedelta(days=1))
    app.send(
        chain(named(app, "one", "a"), named(app, "one", "b"), named(app, "one", "c", delay=timedelta(hours=2)), last)
    )
    app.time.run_for(minutes=30)
    assert shape(tree(app, "d").steps) == [("a", "SUCCESS"), ("b", "SUCCESS"), ("c", "PENDING"), ("d", "waits")]
    app.time.run_for(minutes=45)
    assert shape(tree(app, "c").steps) == [("a", "forgotten"), ("b", "forgotten"), ("c", "PENDING"), ("d", "waits")]
    assert tree(app, "d") == tree(app, "c")
    app.time.run_for(hours=1)
    assert shape(tree(app, "d").steps) == [("a", "forgotten"), ("b", "forgotten"), ("c", "SUCCESS"), ("d", "PENDING")]
    app.time.run_for(hours=2)
    assert shape(tree(app, "d").steps) == [("a", "forgotten"), ("c", "forgotten"), ("d", "PENDING")]


def test_members_that_were_forgotten_say_so(app):
    app.send(group([named(app, "one", f"m{number}") for number in range(3)]).set(group_id="g"))
    drain(app)
    app.runtime.backend.forget(["m1"])
    assert shape(tree(app, "m2").steps) == [
        ("g", "SUCCESS", [0, ("m0", "SUCCESS")], [1, ("m1", "forgotten")], [2, ("m2", "SUCCESS")])
    ]
    assert tree(app, "g").steps[0].states == {"SUCCESS": 2, "?": 1}
    app.runtime.backend.forget(["g"])
    assert shape(tree(app, "m2").steps) == [("g", "forgotten"), ("m2", "SUCCESS")]
    with pytest.raises(UnknownResult):
        tree(app, "g")


def test_a_callback_whose_record_is_gone_was_sent(app):
    app.send(named(app, "one", "a", on_success=[named(app, "one", "s")]))
    drain(app)
    app.runtime.backend.forget(["s"])
    assert shape(tree(app, "a").steps) == [("a", "SUCCESS", ["success", ("s", "forgotten")])]


def test_records_of_older_versions_are_read(app):
    """They name no workflow and no parent, and a group lists no members."""
    send_all_sorts(app)
    backend, payloads = app.runtime.backend, app.runtime.payloads
    for record in backend.read(list("agmnoz")):
        known = downstream.load_downstream(record, payloads)
        old = record.downstream
        if isinstance(known, downstream.Downstream):
            old = payloads.dump(payloads.load(record.downstream)["then"])
        plain = evolve(record, workflow="", parent="", queue="", downstream=old)
        backend.forget([record.task_id])
        restore(backend, plain)
    for task_id in "amnoz":
        assert [step.id for step in tree(app, task_id).steps] == ["a", "g", "z"]


def restore(backend, record):
    at = record.history[record.state].at
    backend.record(
        [
            Transition(
                task_id=record.task_id,
                state=record.state,
                at=at,
                task=record.task,
                payload=record.payload,
                downstream=record.downstream,
            )
        ]
    )


def test_a_backend_that_stores_nothing_has_no_trees():
    app = App("memory://", "null://")
    with pytest.raises(NotSupported, match="null://"):
        app.operations.workflow("a")


def test_the_drawing(timed):
    app = timed
    members = group([named(app, "one", f"m{number}") for number in range(12)]).set(group_id="g")
    app.send(chain(named(app, "one", "a", on_error=[named(app, "one", "e")]), members))
    lines = list(tree_lines(tree(app, "m3", limit=2), asked="m3"))
    at = lines[1].split("  ")[-1]
    assert lines == [
        "workflow a",
        f"├─ one  a  PENDING  queue ones  {at}",
        "│  └─ on error: one  e  not sent  queue ones",
        "└─ group  g  PENDING, waits  0 of 12 done",
        f"   ├─ 0: one  m0  PENDING, waits  queue ones  {at}",
        f"   ├─ 3: one  m3  PENDING, waits  queue ones  {at}  <",
        "   └─ 10 more members",
    ]
