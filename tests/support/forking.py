"""A program whose processes use one app before, after and while they fork; it ends with 0 when all of them could.

python forking.py BROKER BACKEND before|after|during CHILDREN
"""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback

from drivetrain import App
from drivetrain.contract import Durability

#: A process that hangs says where, and ends.
_LONGEST_SECONDS = 60


def say_where_and_end():
    """End this process when it takes too long, with the stacks of its threads."""
    signal.alarm(_LONGEST_SECONDS)


def make_app(broker, backend):
    # What SQS hands to a process that has just ended comes again when its hold has ended.
    app = App(broker, backend, concurrency=2, lease_seconds=5.0)

    @app.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    return app


def use(app):
    """All that an app does, but for running tasks."""
    double = app.signature("double", 4)
    handles = app.send_many([double, double])
    assert [handle.get(timeout=30) for handle in handles] == [8, 8]
    assert asyncio.run(awaited(app.send(double))) == 8
    assert app.operations.sizes(["default"])
    with app.lock(f"mine-{os.getpid()}-{threading.get_ident()}") as lock:
        assert lock.renew()


async def awaited(handle):
    return await handle.get_async(timeout=30)


def use_and_work(app):
    with app.worker():
        use(app)


def keep_using(app, over):
    while not over.is_set():
        use(app)


def keep_sending(app, over):
    unserved = app.signature("double", 4).set(queue="unserved")
    while not over.is_set():
        app.send(unserved)


def fork_soon(work):
    """Do ``work`` in a child; its process id."""
    time.sleep(0.05)  # not too soon for the threads to be in the middle of something
    child = os.fork()
    if child:
        return child
    try:
        say_where_and_end()
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(broker, backend, when, children):
    faulthandler.register(signal.SIGALRM, chain=True)
    say_where_and_end()
    app, over, threads = make_app(broker, backend), threading.Event(), []
    held = app.lock("held") if when != "before" and stores_locks(app) else None
    if when != "before":
        use_and_work(app)
    with app.worker() if when == "during" else over_at_once():
        if when == "during":
            busy = (keep_sending, keep_using, keep_using)
            threads = [threading.Thread(target=each, args=(app, over), daemon=True) for each in busy]
            for thread in threads:
                thread.start()
        assert held is None or held.acquire()
        forked = [fork_soon(lambda: use_in_child(app, held)) for _ in range(int(children))]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in forked]
        assert held is None or held.release(), "a child has released the lock of its parent"
        over.set()
        for thread in threads:
            thread.join(_LONGEST_SECONDS)
    use_and_work(app)
    app.close()
    assert not any(codes), f"children ended with {codes}"


def use_in_child(app, held):
    assert held is None or not held.release(), "a child holds the lock of its parent"
    use_and_work(app)
    use_and_work(app)


def stores_locks(app):
    return app.runtime.backend.capabilities.durability is not Durability.NONE


class over_at_once:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
