"""Calls that are made at the same time: by threads of this process, and by other processes."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, Generic, ParamSpec, TypeVar

from drivetrain.app.discovery import Drivers
from drivetrain.contract import Backend, DriverContext, SystemClock

__all__ = ["Background", "in_processes", "together"]

P = ParamSpec("P")
T = TypeVar("T")

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

    running = [Background(run, call) for call in calls]
    return [each.result() for each in running]


def in_processes(url: str, work: Callable[[Backend, int], T], count: int) -> list[T]:
    """Do ``work`` in several processes at once, each with a backend of its own; their answers.

    Args:
        url: of the backend.
        work: a function that other processes can import, told the backend and the number of its process.
        count: how many processes.
    """
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count)
    pipes = [spawn.Pipe(duplex=False) for _ in range(count)]
    workers = [
        spawn.Process(target=_work, args=(url, work, number, barrier, sender), daemon=True)
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
    url: str, work: Callable[[Backend, int], object], number: int, barrier: Barrier, answers: Connection[Any, Any]
) -> None:
    backend = Drivers(DriverContext(clock=SystemClock())).backend(url)
    try:
        backend.ping()
        barrier.wait(_PATIENCE)
        answers.send((True, work(backend, number)))
    except Exception as error:  # noqa: BLE001  it is told to the check
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
