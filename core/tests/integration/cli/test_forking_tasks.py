"""Tasks that fork, under ``drivetrain worker``: in each pool, and however their children end."""

import os
import signal

import pytest

from drivetrain.cli.app_loading import load_app

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")

FORKING = '''
import asyncio, multiprocessing, os, signal, sys, threading, time, warnings
from drivetrain import App
warnings.simplefilter("ignore")  # of forks in processes with threads, which are what is tried

app = App("sqlite:///work.db?synchronous=normal", lease_seconds=5.0)


def end(how):
    if how == "exit":
        sys.exit(5)
    if how == "text":
        sys.exit("cannot continue")
    if how == "raise":
        raise LookupError("only in the child")
    if how == "interrupt":
        raise KeyboardInterrupt
    print("said by the child", file=sys.stderr)


def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork(how: str) -> str:
    child = os.fork()
    if not child:
        return end(how)
    return f"child ended with {code(child)}"


@app.task
def in_a_thread(how: str) -> str:
    return fork(how)

@app.task(timeout=60)
def with_a_limit(how: str) -> str:
    return fork(how)

@app.task(pool="processes")
def in_a_process(how: str) -> str:
    return fork(how)

@app.task
async def on_the_loop(how: str) -> str:
    await asyncio.sleep(0)
    return fork(how)


def work_in_children() -> list[object]:
    """What children of multiprocessing see, and how they end."""
    context = multiprocessing.get_context("fork")
    names = context.Queue()
    said = context.Process(target=lambda: names.put([thread.name for thread in threading.enumerate()]))
    said.start()
    alive = names.get()
    said.join()
    sleeping = context.Process(target=time.sleep, args=(60,))
    sleeping.start()
    sleeping.terminate()
    sleeping.join()
    return [len(alive), said.exitcode, sleeping.exitcode]

@app.task
def threads_children() -> list[object]:
    return work_in_children()

@app.task(pool="processes")
def processes_children() -> list[object]:
    return work_in_children()


@app.task
def change_directory() -> None:
    os.chdir("..")


@app.task(pool="processes")
def send_from_a_process(number: int) -> int:
    change_directory.si().set(task_id=f"sent by a process {number}").send()
    return os.getpid()


@app.task
def end_a_child_by_exit() -> str:
    """As frameworks do that fork servers: the child ends by what Python calls at exit."""
    child = os.fork()
    if not child:
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)
    return f"child ended with {code(child)}"


@app.task
def send_in_a_child() -> str:
    child = os.fork()
    if not child:
        threads_children.si().set(task_id="sent by a child").send()
        return "not the result of the task"
    return f"child ended with {code(child)}"
'''


@pytest.fixture
def forking(project, app, start_worker):
    (project / "forking.py").write_text(FORKING, encoding="utf-8")
    forking = load_app("forking:app")
    forking.worker_process = start_worker("--concurrency", "1", reference="forking:app")
    yield forking
    forking.close()


@pytest.mark.parametrize("task", ["in_a_thread", "with_a_limit", "in_a_process", "on_the_loop"])
def test_a_child_ends_as_a_script_does_and_the_task_is_its_parents(forking, task):
    endings = {"exit": 5, "text": 1, "raise": 1, "interrupt": 1, "return": 0}
    handles = {how: forking.send(forking.signature(f"forking.{task}", how)) for how in endings}
    assert {how: handle.get(timeout=60) for how, handle in handles.items()} == {
        how: f"child ended with {code}" for how, code in endings.items()
    }
    forking.worker_process.signal(signal.SIGTERM)
    assert forking.worker_process.ended() == 0
    said = "\n".join(forking.worker_process.lines)
    for line in ("cannot continue", "LookupError: only in the child", "said by the child"):
        assert said.count(line) == 1
    assert "failed in attempt" not in said


@pytest.mark.parametrize("task", ["threads_children", "processes_children"])
def test_children_have_one_thread_and_end_by_sigterm(forking, task):
    one_thread_and_that_of_the_queue = 2
    told = forking.send(forking.signature(f"forking.{task}")).get(timeout=60)
    assert told[0] <= one_thread_and_that_of_the_queue
    assert told[1:] == [0, -signal.SIGTERM]
    forking.worker_process.signal(signal.SIGTERM)
    assert forking.worker_process.ended() == 0
    assert "Exception ignored" not in "\n".join(forking.worker_process.lines)


def test_a_child_may_use_the_app(forking):
    assert forking.send(forking.signature("forking.send_in_a_child")).get(timeout=60) == "child ended with 0"
    assert forking.result("sent by a child").get(timeout=60)[1:] == [0, -signal.SIGTERM]


def test_children_of_the_processes_pool_find_relative_paths_where_the_app_was_made(forking):
    forking.send(forking.signature("forking.change_directory")).get(timeout=60)
    forking.send(forking.signature("forking.send_from_a_process", 1)).get(timeout=60)
    assert forking.result("sent by a process 1").get(timeout=60) is None


def test_a_forked_child_that_ends_ends_no_process_of_the_pool(forking):
    before = forking.send(forking.signature("forking.send_from_a_process", 1)).get(timeout=60)
    assert forking.send(forking.signature("forking.end_a_child_by_exit")).get(timeout=60) == "child ended with 0"
    assert forking.send(forking.signature("forking.send_from_a_process", 2)).get(timeout=60) == before
