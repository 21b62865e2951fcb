"""Reading what is on the wire, from the first moment of a process on."""

import subprocess
import sys

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
