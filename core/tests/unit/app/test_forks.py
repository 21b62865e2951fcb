"""An app whose process forks; what every driver must do is in tests/faults."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")

# Runs in a process of its own. A child that hangs is ended by a signal.
PROGRAM = """
import asyncio, os, signal, threading, traceback, warnings
from drivetrain import App

warnings.simplefilter("ignore")  # of forks in processes with threads, which are what is tried
app = App("memory://")

def in_child(work):
    child = os.fork()
    if not child:
        try:
            signal.alarm(30)
            work()
        except BaseException:  # the child must end here; its exit code tells the parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def use():
    handle = app.send(app.signature(name))
    app.worker().drain()
    assert handle.get(timeout=60) == 1
"""


@pytest.fixture
def forking(tmp_path):
    def run(code):
        # A file: the annotations of a task are looked up in its module.
        program = tmp_path / "forking.py"
        program.write_text(PROGRAM + code, encoding="utf-8")
        ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=100, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    return run


def test_a_child_compiles_what_a_thread_of_its_parent_was_compiling(forking):
    forking("""
compiling, over = threading.Event(), threading.Event()
def one():
    if threading.current_thread() is not threading.main_thread():
        compiling.set()
        over.wait()
    return 1

@app.task(name="slow")
def slow(x: "[int][one() - 1]" = 1) -> int:
    return x

name = "slow"
thread = threading.Thread(target=use)
thread.start()
compiling.wait()
in_child(use)
over.set()
thread.join()
use()
""")


def test_a_child_makes_what_a_thread_of_its_parent_was_making(forking):
    forking("""
from drivetrain.app.per_process import PerProcess
making, over = threading.Event(), threading.Event()
def make():
    making.set()
    over.wait()
    return os.getpid()

def use():
    over.set()
    assert value.get() == value.get() == os.getpid()
    assert value.take() == os.getpid()
    assert value.take() is None

value = PerProcess(make)
thread = threading.Thread(target=value.get)
thread.start()
making.wait()
in_child(use)
over.set()
thread.join()
use()
""")


def test_a_child_leaves_what_its_parent_has_made_untouched(forking):
    forking("""
import gc
from drivetrain.app.per_process import PerProcess

class Kept:
    def __del__(self):
        print("dropped in", os.getpid())
        os._exit(3)

value = PerProcess(Kept)
value.get()
def use():
    assert value.take() is None
    gc.collect()
in_child(use)
os._exit(0)
""")


def test_a_worker_of_the_parent_is_neither_run_nor_stopped_in_a_child(forking):
    forking("""
@app.task(name="one")
def one() -> int:
    return 1

name = "one"
idle = app.worker()

def use_workers():
    working.stop()
    for use_worker in (idle.run, idle.start, idle.drain):
        try:
            use_worker()
        except RuntimeError as error:
            assert "call app.worker() in the process that runs the worker" in str(error)
        else:
            raise AssertionError("the worker of the parent works in the child")
    use()

with app.worker() as working:
    in_child(use_workers)
    assert app.send(app.signature(name)).get(timeout=30) == 1
""")


def test_a_lock_that_is_held_is_not_held_by_a_child(forking):
    forking("""
def leave():
    assert lock.token is None
    assert not lock.renew()
    assert not lock.release()

with app.lock("only one") as lock:
    in_child(leave)
    assert lock.renew()
""")


def test_await_works_in_a_child_whose_parent_has_awaited(forking):
    forking("""
@app.task(name="one")
def one() -> int:
    return 1

def use():
    handle = app.send(app.signature("one"))
    app.worker().drain()
    async def awaited():
        return await handle
    assert asyncio.run(awaited()) == 1

use()
in_child(use)
use()
""")


def test_a_relative_path_begins_where_the_app_was_made(forking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    forking("""
app = App("sqlite:///here.db")
os.chdir("elsewhere")
def send():
    app.send(app.signature("one"))
in_child(send)
send()
os.chdir("..")
in_child(send)
assert app.operations.sizes(["default"])["default"].ready == 3
with app.using("sqlite:///used.db"):
    os.chdir("elsewhere")
    send()
send()
assert app.operations.sizes(["default"])["default"].ready == 4
""")
    assert sorted(path.name for path in tmp_path.glob("**/*.db")) == ["here.db", "used.db"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_app_may_be_made_in_a_directory_that_was_removed(forking, tmp_path):
    forking(f"""
os.mkdir({str(tmp_path / "gone")!r})
os.chdir({str(tmp_path / "gone")!r})
os.rmdir({str(tmp_path / "gone")!r})
app = App("memory://")
@app.task(name="one")
def one() -> int:
    return 1
name = "one"
use()
""")


def test_memory_is_empty_in_a_child(forking):
    forking("""
from drivetrain.contract import DriverContext, Message
from drivetrain.drivers.memory import make_broker

def taken():
    broker = make_broker("memory://shared", DriverContext())
    return len(broker.receive(["q"], limit=9, wait_seconds=0.0, hold_seconds=60.0))

broker = make_broker("memory://shared", DriverContext())
broker.publish([Message(id="m", queue="q", body=b"")])
def look():
    assert taken() == 0
in_child(look)
assert taken() == 1
""")


def test_ids_of_a_child_are_its_own(forking):
    """Random bytes are taken in advance: a child must not use those of its parent."""
    forking("""
from drivetrain.app import ids

def random_part(task_id):
    return task_id[-15:]

def check():
    assert not {random_part(ids.new_id()) for _ in range(300)} & taken

ids.new_id()
taken = {format(int.from_bytes(part, "big") % 16**15, "015x") for part in ids._random_bytes._parts}
assert random_part(ids.new_id()) in taken, "the test knows how ids are made"
in_child(check)
""")


def test_a_child_sends_on_while_threads_of_its_parent_share_calls(forking):
    """It is forked while calls are under way, and its own sends do not wait for them."""
    forking("""
@app.task(name="one")
def one() -> int:
    return 1

name = "one"

def use():
    for _ in range(20):
        app.send(app.signature(name))

    async def many():
        await asyncio.gather(*(app.send_async(app.signature(name)) for _ in range(50)))

    asyncio.run(many())

use()  # imports the driver: a child that is forked during an import could not import
over = threading.Event()

def keep_sending():
    while not over.is_set():
        use()

threads = [threading.Thread(target=keep_sending) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(3):
    in_child(use)
over.set()
for thread in threads:
    thread.join()
""")
