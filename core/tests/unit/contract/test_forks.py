"""What drivers do about forks; each program forks in a process of its own."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")

PROGRAM = """
import gc, os, threading, warnings
from drivetrain.contract import finish_before_forks, forks, reset_after_fork

warnings.simplefilter("ignore")  # of forks in processes with threads, which are what is tried
ready, go_on = threading.Event(), threading.Event()
# Hooks that are registered later are called earlier: the thread goes on once a fork has begun.
os.register_at_fork(before=go_on.set)

def told_by_child(look):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, repr(look()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return eval(os.read(reading, 1000))
"""


def run(code):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM + code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_fork_waits_for_a_block_of_another_thread():
    run("""
steps = []
def work():
    with finish_before_forks():
        ready.set()
        go_on.wait()
        steps.extend(range(100_000))
thread = threading.Thread(target=work)
thread.start()
ready.wait()
assert told_by_child(lambda: len(steps)) == 100_000
""")


def test_blocks_that_overlap_without_end_do_not_keep_a_fork_waiting():
    run("""
inside, over = set(), threading.Event()
entered = [threading.Event(), threading.Event()]
def work(number):
    while not over.is_set():
        with finish_before_forks():
            inside.add(number)
            entered[number].set()
            # It leaves when the other thread is inside too, or cannot enter.
            if entered[1 - number].wait(0.05):
                entered[1 - number].clear()
            inside.discard(number)
threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
for thread in threads:
    thread.start()
entered[0].wait()
assert [told_by_child(lambda: len(inside)) for _ in range(5)] == [0] * 5
over.set()
for thread in threads:
    thread.join()
""")


def test_a_fork_waits_for_a_block_not_for_ever_and_its_child_enters_blocks():
    run("""
forks._LONGEST_WAIT_SECONDS = 0.01
over = threading.Event()
def stay():
    with finish_before_forks():
        ready.set()
        over.wait()
threading.Thread(target=stay).start()
ready.wait()
def enter():
    with finish_before_forks():
        return "entered"
assert told_by_child(enter) == enter() == "entered"
assert told_by_child(lambda: told_by_child(enter)) == "entered"
over.set()
""")


def test_a_fork_does_not_wait_for_its_own_thread():
    run("""
def look():
    return "forked"
with finish_before_forks():
    assert told_by_child(look) == "forked"
with finish_before_forks():
    pass
""")


def test_objects_are_reset_in_the_child_alone_and_not_kept_alive():
    run("""
class Target:
    resets = 0
    def after_fork(self):
        self.resets += 1
kept, dropped = Target(), Target()
others = len(forks._registered)
for target in (kept, dropped):
    reset_after_fork(target)
del target, dropped
gc.collect()
assert told_by_child(lambda: (kept.resets, told_by_child(lambda: kept.resets))) == (1, 2)
assert kept.resets == 0
assert len(forks._registered) == others + 1
""")
