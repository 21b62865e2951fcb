"""Processes that fork while the file is open; each forks in a process of its own, which has few threads."""

import pytest

# What the forking processes have in common: work in a child, and other objects than those that were made before.
# Two threads of one process write lines at the same moment, so a line must be one write: print() makes several.
FORKING = """
import threading, traceback, warnings
from drivetrain.contract import SystemClock
warnings.simplefilter("ignore")  # of forks in processes with threads, which are what is tried

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def other_broker():
    return make_broker(url, DriverContext())

def fork(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # the child must end here; its exit code tells the parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def send(broker, *ids):
    broker.publish([Message(id=id_, queue="q", body=b"") for id_ in ids])

"""


@pytest.fixture
def forking(child):
    return lambda code: child(FORKING + code)


def test_a_child_keeps_the_log_when_its_parent_closes_the_file(forking, child, make, ids, receive, assert_sound):
    """SQLite's last connection removes the log. A process whose locks SQLite only believes to hold is not counted."""
    process = forking("""
broker.ping()
wrote, writes = os.pipe()
def work():
    mine = other_broker()
    send(mine, "child 1"); say("child writes"); os.write(writes, b"1"); hear()
    send(mine, "child 2")
forked = fork(work)
os.read(wrote, 1)
broker.close(); backend.close(); say("parent has closed")
say("child ended with", code(forked))
""")
    assert [process.line(), process.line()] == ["child writes", "parent has closed"]
    other = child("publish(['other']); broker.close(); say('other writes')")
    assert other.line() == "other writes"
    other.process.wait(30)
    process.tell()
    assert process.line() == "child ended with 0"
    assert ids(receive(make("broker"))) == ["child 1", "other", "child 2"]
    assert_sound()


def test_children_write_that_were_forked_while_a_thread_wrote(forking, make, assert_sound):
    process = forking("""
over, sent = threading.Event(), threading.Semaphore(0)
def write():
    while not over.is_set():
        send(broker, "parent")
        sent.release()
writing = threading.Thread(target=write); writing.start()
forked = []
for _ in range(10):
    assert sent.acquire(timeout=30)  # the next message is being written
    forked.append(fork(lambda: other_broker().publish([Message(id="child", queue="children", body=b"")])))
say([code(each) for each in forked])
over.set(); writing.join()
send(broker, "end"); say("end")
""")
    assert process.line() == str([0] * 10)
    assert process.line() == "end"
    assert make("broker").sizes(["children"])["children"].ready == 10
    assert_sound()


def test_a_fork_in_the_middle_of_a_transaction_gets_an_error_that_says_what_is_wrong(forking, make, ids, receive):
    """The file cannot be used in such a child; any other can, and the parent goes on."""
    process = forking("""
from drivetrain.contract import ServiceRefused
def work():
    make_broker(url + "-other", DriverContext()).ping()
    try:
        other_broker().ping()
    except ServiceRefused as error:
        say(error)
with broker._database.write():
    forked = fork(work)
say("child ended with", code(forked))
send(broker, "parent"); say("end")
""")
    assert "was in use when process" in process.line()
    assert process.line() == "child ended with 0"
    assert process.line() == "end"
    assert ids(receive(make("broker"))) == ["parent"]


def test_a_fork_waits_no_longer_than_it_must_for_a_thread(forking):
    process = forking("""
from drivetrain.drivers.sqlite import fork_safety
fork_safety._LONGEST_WAIT_SECONDS = 0.05
entered, over = threading.Event(), threading.Event()
def stay():
    with broker._database.write():
        entered.set(); over.wait()
threading.Thread(target=stay).start()
entered.wait()
def work():
    try:
        other_broker().ping()
    except Exception as error:
        say(error)
forked = fork(work)
over.set()
say("child ended with", code(forked))
send(broker, "parent"); say("end")
""")
    assert "was in use when process" in process.line()
    assert process.line() == "child ended with 0"
    assert process.line() == "end"


def test_a_thread_that_waits_is_woken_by_what_came_right_after_a_fork(forking):
    """Its connection was closed meanwhile, and what SQLite tells of another one is not comparable."""
    process = forking("""
from drivetrain.drivers.sqlite import file_notify
file_notify.FileNotifier.notify = lambda self: None  # no notification: only the file shows the change
class Telling(SystemClock):
    waits = threading.Event()
    def wait(self, condition, timeout):
        self.waits.set()
        return super().wait(condition, timeout)
backend = make_backend(url, DriverContext(clock=Telling()))
backend.record([Transition(task_id="t", state=State.PENDING, at=1.0)])
waiting = threading.Thread(target=lambda: say(backend.wait(["t"], timeout_seconds=60.0))); waiting.start()
assert Telling.waits.wait(30)
def work():
    mine = make_backend(url, DriverContext())
    mine.record([Transition(task_id="t", state=State.CANCELLED, at=1.0, payload=b"")])
say("child ended with", code(fork(work)))
waiting.join()
""")
    assert sorted([process.line(), process.line()]) == ["child ended with 0", "{'t': None}"]


def test_a_broker_that_was_never_used_may_be_used_in_a_child(forking):
    process = forking("say('child ended with', code(fork(lambda: send(broker, 'child')))); broker.ping(); say('end')")
    assert process.line() == "child ended with 0"
    assert process.line() == "end"


def test_a_broker_that_was_used_may_not_be_used_in_a_child(forking):
    process = forking("""
broker.ping()
def work():
    broker.close()  # leaves the parent's connections alone
    try:
        broker.ping()
    except Exception as error:
        say(error)
forked = fork(work)
say("child ended with", code(forked))
broker.ping(); say("end")
""")
    assert "make the app in the process that uses it" in process.line()
    assert process.line() == "child ended with 0"
    assert process.line() == "end"
