"""Reading what is on the wire, from the first moment of a process on."""

import json
import subprocess
import sys

import pytest

from drivetrain.contract import SerializationError
from drivetrain.workflow.frames import Call, Invocation, Join
from drivetrain.workflow.wire import dump_frames, dump_invocation, load_frames, load_invocation, skeleton

#: Threads that are the first to read an invocation, at one moment, and change over as often as they can.
_FIRST_READERS = """
import sys, threading
from drivetrain.workflow import wire
sys.setswitchinterval(1e-6)
plain = {"call": {"is": "call", "id": "a", "task": "t", "queue": "q", "args": [1]}, "frames": []}
together = threading.Barrier(4)
def read():
    together.wait()
    for _ in range(5):
        wire.load_invocation(plain)
readers = [threading.Thread(target=read) for _ in range(4)]
for reader in readers: reader.start()
for reader in readers: reader.join()
"""


def test_threads_that_read_first_at_one_moment_do_not_crash_the_interpreter():
    """msgspec learns of a type when it is first used; every other of such processes ended in a segmentation fault."""
    for _ in range(10):  # one after the other, for on a busy machine the threads come less close
        assert subprocess.run([sys.executable, "-c", _FIRST_READERS], check=False).returncode == 0


_CALL = {"is": "call", "id": "a", "task": "t", "queue": "q"}


def test_the_message_of_a_member_of_an_outermost_group_has_no_outer_join():
    invocation = Invocation(call=Call(id="a", task="t", queue="q"), frames=(Join("g", 0),))
    assert dump_invocation(invocation) == {"call": _CALL, "frames": [{"is": "join", "group_id": "g", "index": 0}]}


def test_places_around_a_group_travel_and_are_kept_with_what_waits():
    frames = (Join("inner", 2, outer=Join("middle", 1, outer=Join("outer", 0)), then="next"),)
    invocation = Invocation(call=Call(id="a", task="t", queue="q"), frames=frames)
    assert load_invocation(json.loads(json.dumps(dump_invocation(invocation)))) == invocation
    assert load_frames(json.loads(json.dumps(dump_frames(frames)))) == frames
    assert load_frames(skeleton(frames)) == frames


def test_an_old_message_of_a_nested_groups_member_without_its_outer_join_is_read():
    plain = {"call": _CALL, "frames": [{"is": "join", "group_id": "g", "index": 0}]}
    assert load_invocation(plain).frames == (Join("g", 0, outer=None, then=""),)


def test_the_key_of_further_frames_travels_and_a_message_without_it_has_none():
    invocation = Invocation(call=Call(id="a", task="t", queue="q"), frames=(), rest="a.rest.1")
    assert dump_invocation(invocation) == {"call": _CALL, "rest": "a.rest.1"}
    assert load_invocation(json.loads(json.dumps(dump_invocation(invocation)))) == invocation
    assert load_invocation({"call": _CALL}).rest == ""


def test_a_place_that_is_none_is_refused():
    with pytest.raises(SerializationError):
        load_frames([{"is": "join", "group_id": "g", "index": 0, "outer": {"is": "call", "id": "a"}}])
