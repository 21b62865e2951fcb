"""Records name the queue, the workflow and the parent of their task, whoever publishes it."""

import pytest
from msgspec.structs import replace

from drivetrain import App, Retry, chain, chord, current_task, group
from drivetrain.contract import QueueSection, evolve, hookimpl
from drivetrain.testing import VirtualTime
from drivetrain.worker.effects import GROUP_TASK
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.workflow.frames import WORKFLOW_HEADER
from drivetrain.workflow.wire import dump_invocation, load_invocation


class Workflows:
    """A plugin that notes the workflow of each start."""

    def __init__(self):
        self.seen = {}

    @hookimpl
    def task_started(self, event):
        self.seen[event.task_id] = event.workflow


@pytest.fixture
def plugin():
    return Workflows()


@pytest.fixture
def app(plugin):
    app = App("memory://", plugins=[plugin])

    @app.task(name="one", queue="ones")
    def one(*_values):
        return 1

    @app.task(name="bad", queue="bads")
    def bad(*_values):
        raise ValueError("bad")

    with VirtualTime(app) as time:
        app.time = time
        yield app


def named(app, name, task_id, **options):
    return app.signature(name).set(task_id=task_id, **options)


def fields(app, *task_ids):
    records = app.runtime.backend.read(task_ids)
    return {one.task_id: (one.queue, one.workflow, one.parent) for one in records if one is not None}


def test_a_task_alone_is_a_workflow_by_itself(app):
    app.send(named(app, "one", "a"))
    assert fields(app, "a") == {"a": ("ones", "", "")}
    app.time.run_ready()
    assert fields(app, "a") == {"a": ("ones", "", "")}


def test_a_chain_is_named_after_its_first_task(app):
    app.send(chain(named(app, "one", "a"), named(app, "one", "b", queue="others"), named(app, "one", "c")))
    sent = {"a": ("ones", "a", ""), "b": ("others", "a", "a"), "c": ("ones", "a", "b")}
    assert fields(app, "a", "b", "c") == sent
    app.time.run_ready()
    assert app.result("c").get(0) == 1
    assert fields(app, "a", "b", "c") == sent


def test_members_have_their_group_as_parent_and_what_follows_a_group_has_it_too(app):
    members = group([named(app, "one", "m"), chain(named(app, "one", "n"), named(app, "one", "o"))]).set(group_id="g")
    app.send(chain(named(app, "one", "a"), members, named(app, "one", "z")))
    sent = {
        "a": ("ones", "a", ""),
        "g": ("", "a", "a"),
        "m": ("ones", "a", "g"),
        "n": ("ones", "a", "g"),
        "o": ("ones", "a", "n"),
        "z": ("ones", "a", "g"),
    }
    assert fields(app, *sent) == sent
    app.time.run_ready()
    assert fields(app, *sent) == sent


def test_a_chord_is_named_after_its_group(app):
    app.send(chord([named(app, "one", "m")], named(app, "one", "z")))
    (record,) = app.runtime.backend.read(["z"])
    assert fields(app, "m", "z") == {"m": ("ones", record.parent, record.parent), "z": ("ones",) + (record.parent,) * 2}
    (opened,) = app.runtime.backend.read([record.parent])
    assert (opened.task, opened.workflow, opened.parent) == (GROUP_TASK, record.parent, "")


@pytest.mark.parametrize("collect", [False, True])
def test_callbacks_belong_to_the_workflow_of_their_task(app, collect):
    failing = named(app, "bad", "m", on_error=[named(app, "one", "m failed")])
    members = group([failing]).set(group_id="g", on_member_failure="collect" if collect else "fail")
    last = named(app, "one", "z", on_success=[named(app, "one", "z done")], on_error=[named(app, "one", "z failed")])
    app.send(chain(members, last))
    app.time.run_ready()
    expected = {"m failed": ("ones", "g", "m")}
    expected |= {"z done": ("ones", "g", "z")} if collect else {"z failed": ("ones", "g", "z")}
    assert fields(app, "m failed", "z done", "z failed") == expected


def test_a_retry_keeps_the_workflow(app):
    @app.task(name="twice")
    def twice():
        raise Retry(after=5)

    app.send(chain(named(app, "twice", "a"), named(app, "one", "b", on_error=[named(app, "one", "e")])))
    app.time.run_for(minutes=10)
    assert fields(app, "a", "e") == {"a": ("default", "a", ""), "e": ("ones", "a", "b")}


def test_a_cancelled_member_that_completes_its_group_continues_the_same_workflow(app):
    members = group([named(app, "one", "m")]).set(group_id="g", on_member_failure="collect")
    app.send(chain(members, named(app, "one", "z", on_success=[named(app, "one", "done")])))
    app.cancel("m")
    app.time.run_ready()
    assert fields(app, "z", "done") == {"z": ("ones", "g", "g"), "done": ("ones", "g", "z")}


def test_a_replayed_dead_letter_keeps_its_place(app):
    dead = named(app, "bad", "b", dead_letter=True, on_error=[named(app, "one", "e")])
    app.send(chain(named(app, "one", "a"), dead, named(app, "one", "c")))
    app.time.run_ready()
    assert app.operations.replay("bads") == 1
    assert fields(app, "b", "c") == {"b": ("bads", "a", "a"), "c": ("ones", "a", "b")}


def test_plugins_get_the_workflow_and_tasks_do_not_see_its_header(app, plugin):
    seen = []

    @app.task(name="headers")
    def headers():
        seen.append(dict(current_task().headers))

    app.send(chain(named(app, "headers", "a"), named(app, "one", "b")))
    app.send(named(app, "one", "c"))
    app.time.run_ready()
    assert plugin.seen == {"a": "a", "b": "a", "c": ""}
    assert seen == [{}]


def test_messages_of_older_versions_are_read(app, plugin):
    """They name the workflow in the headers of each call, and only if the sender had a plugin."""
    app.send(chain(named(app, "one", "a"), named(app, "one", "b"), named(app, "one", "c")))
    broker, payloads = app.runtime.broker, app.runtime.payloads
    (message,) = broker.peek("ones", QueueSection.READY, limit=1)
    broker.purge("ones", QueueSection.READY)
    invocation = load_invocation(payloads.load_body(message.headers[CONTENT_TYPE_HEADER], message.body))
    old = {WORKFLOW_HEADER: "a", "own": "1"}
    frames = tuple(replace(call, headers=old) for call in invocation.frames)
    invocation = replace(invocation, call=replace(invocation.call, headers=old), frames=frames)
    headers = {CONTENT_TYPE_HEADER: message.headers[CONTENT_TYPE_HEADER], **old}
    broker.publish([evolve(message, headers=headers, body=payloads.dump_body(dump_invocation(invocation)))])
    app.time.run_ready()
    assert plugin.seen == {"a": "a", "b": "a", "c": "a"}
    assert fields(app, "b", "c") == {"b": ("ones", "a", "a"), "c": ("ones", "a", "b")}
