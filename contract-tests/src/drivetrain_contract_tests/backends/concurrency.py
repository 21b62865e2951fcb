"""Calls that are made at the same time: by threads of this process, and by other processes."""

from __future__ import annotations

import multiprocessing
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Generic, ParamSpec, Self, TypeVar

from drivetrain.app.discovery import Drivers
from drivetrain.contract import Backend, DriverContext, SystemClock

__all__ = ["Background", "Interruption", "LineUp", "in_processes", "race", "switching_often", "together"]

P = ParamSpec("P")
T = TypeVar("T")

#: Returns when every process of a race has called it.
LineUp = Callable[[], object]

#: How often Python may switch threads while a race is provoked, in seconds; by itself it does so every 5 ms.
_SWITCH_SECONDS = 1e-6
#: How long a thread is stopped in the middle of a call, in seconds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.000_3, 0.003
#: Rounds of a race that are run even when its time is over.
_FEWEST_ROUNDS = 3
#: How long anything that runs beside a check may take, in seconds.
_PATIENCE = 60.0


class Background(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        self._answers: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(partial(call, *args, **kwargs),), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._answers.append(call())
        except BaseException as error:  # noqa: BLE001  it is raised again by `result`
            self._error = error

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, or does so within ``seconds``."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self, seconds: float = _PATIENCE) -> T:
        """Its answer, or what it raised."""
        assert self.ended(seconds), f"a call has not returned within {seconds} s"
        if self._error is not None:
            raise self._error
        return self._answers[0]


def together(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Make the calls in threads that begin at the same instant; their answers."""
    calls = list(calls)
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(_PATIENCE)
        return call()

    with switching_often():
        running = [Background(run, call) for call in calls]
        return [each.result() for each in running]


def race(callers: Sequence[Callable[[str], T]], names: Sequence[str], until: float) -> list[list[T]]:
    """Let every caller ask for one name at the same instant, then all for the next; the answers by name.

    Each call is interrupted at a random step of it (see `Interruption`), so that others come between any two steps of
    the driver. The race ends at the monotonic time ``until``, or when the names are used up, after a few rounds at
    least.

    Raises:
        Exception: what a call has raised.
    """
    over = threading.Event()
    started = 0

    def begin_round() -> None:
        nonlocal started
        started += 1
        if started > _FEWEST_ROUNDS and time.monotonic() > until:
            over.set()

    barrier = threading.Barrier(len(callers), action=begin_round)

    def run(number: int, ask: Callable[[str], T]) -> list[T]:
        answers: list[T] = []
        with Interruption(number) as interruption:
            for name in names:
                barrier.wait(_PATIENCE)
                if over.is_set():
                    break
                try:
                    answers.append(interruption.call(partial(ask, name)))
                except BaseException:  # raised again: the other callers must not wait for this one
                    barrier.abort()
                    raise
        return answers

    with switching_often():
        running = [Background(run, number, ask) for number, ask in enumerate(callers)]
        return [list(answers) for answers in zip(*_results(running), strict=True)]


class Interruption:
    """A context in which the calls of this thread are interrupted once each, at a random step, for about their length.

    A step is a call of a function or a return from one, in the driver or its client library. A driver that looks in
    one step and acts in another is stopped between the two in some of the calls, while other threads run.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        #: How many steps the last call had, and how long it took in seconds.
        self._steps, self._seconds = 50, 0.0
        #: How many steps are left before the interruption, and how many were made in this call.
        self._remaining, self._made = -1, 0
        self._paused = 0.0

    def __enter__(self) -> Self:
        with _installing:  # Python refuses to install two profile functions at once
            sys.setprofile(self._step)
        return self

    def __exit__(self, *_error: object) -> None:
        with _installing:
            sys.setprofile(None)

    def call(self, call: Callable[[], T]) -> T:
        """Make a call."""
        self._remaining, self._made, self._paused = self._random.randrange(self._steps), 0, 0.0
        began = time.monotonic()
        try:
            return call()
        finally:
            self._remaining = -1
            self._steps, self._seconds = max(1, self._made), time.monotonic() - began - self._paused

    def _step(self, *_event: object) -> None:
        self._made += 1
        if self._remaining == 0:
            self._paused = min(max(self._seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            time.sleep(self._paused)
        self._remaining -= 1


def _results(running: Sequence[Background[T]]) -> list[T]:
    """The answers of all; where one has failed, its error and not that of those whose barrier it broke."""
    answers: list[T] = []
    errors: list[Exception] = []
    for each in running:
        try:
            answers.append(each.result())
        except Exception as error:  # noqa: BLE001  the first that matters is raised again
            errors.append(error)
    if errors:
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    return answers


_installing = threading.Lock()
_switching = threading.Lock()
#: How many races are provoked at the moment, and the interval from before the first.
_races, _usual_interval = 0, sys.getswitchinterval()


@contextmanager
def switching_often() -> Iterator[None]:
    """Let Python switch between threads as often as it can, so that two of them are inside the driver at once."""
    global _races, _usual_interval  # noqa: PLW0603  the interval is one for the process, and checks run side by side
    with _switching:
        if _races == 0:
            _usual_interval = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_SECONDS)
        _races += 1
    try:
        yield
    finally:
        with _switching:
            _races -= 1
            if _races == 0:
                sys.setswitchinterval(_usual_interval)


def in_processes(url: str, work: Callable[[Backend, int, LineUp], T], count: int, *, prelude: str = "") -> list[T]:
    """Do ``work`` in several processes at once, each with a backend of its own; their answers.

    Args:
        url: of the backend.
        work: a function that other processes can import. Its arguments are the backend, the number of the process,
            and a call that returns when all processes have made it.
        count: how many processes.
        prelude: Python that each of them runs first; see `Service.prelude`.
    """
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count)
    pipes = [spawn.Pipe(duplex=False) for _ in range(count)]
    workers = [
        spawn.Process(
            target=_work,
            args=(url, prelude, work),
            kwargs={"number": number, "barrier": barrier, "answers": sender},
            daemon=True,
        )
        for number, (_, sender) in enumerate(pipes)
    ]
    for worker, (_, sender) in zip(workers, pipes, strict=True):
        worker.start()
        sender.close()  # so that a process that dies is noticed
    try:
        return [_answer(receiver) for receiver, _ in pipes]
    finally:
        for worker in workers:
            worker.join(_PATIENCE)


def _work(
    url: str,
    prelude: str,
    work: Callable[[Backend, int, LineUp], object],
    *,
    number: int,
    barrier: Barrier,
    answers: Connection[Any, Any],
) -> None:
    exec(prelude, {"sys": sys})  # noqa: S102  the author of the driver wrote it
    backend = Drivers(DriverContext(clock=SystemClock())).backend(url)
    try:
        backend.ping()
        barrier.wait(_PATIENCE)
        answers.send((True, work(backend, number, partial(barrier.wait, _PATIENCE))))
    except Exception as error:  # noqa: BLE001  the check raises it
        barrier.abort()  # nobody waits for this process any more
        answers.send((False, f"{type(error).__name__}: {error}"))
    finally:
        backend.close()


def _answer(receiver: Connection[Any, Any]) -> Any:
    assert receiver.poll(_PATIENCE), f"another process has not answered within {_PATIENCE} s"
    try:
        fine, answer = receiver.recv()
    except EOFError:
        raise AssertionError("another process has ended without an answer; what it wrote says why") from None
    assert fine, f"in another process: {answer}"
    return answer
