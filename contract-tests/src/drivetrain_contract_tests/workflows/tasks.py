"""The tasks that workflows are made of. Each notes its runs, and its result tells how it came about."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from attrs import define, field

from drivetrain import App, current_task, retry
from drivetrain.contract import Failure
from drivetrain_contract_tests.workflows.interpreter import FAILED

__all__ = ["Gate", "Gates", "Notes", "plain", "register"]

#: A gate that nobody has opened by then was forgotten.
_LONGEST_SECONDS = 60.0


@define(eq=False)
class Gate:
    """Where a task waits."""

    reached: threading.Event = field(factory=threading.Event)
    opened: threading.Event = field(factory=threading.Event)

    def wait(self) -> None:
        """Wait until it is opened; called by a task."""
        self.reached.set()
        self.opened.wait(_LONGEST_SECONDS)


class Gates:
    """Gates by name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gates: dict[str, Gate] = {}

    def __getitem__(self, name: str) -> Gate:
        with self._lock:
            return self._gates.setdefault(name, Gate())

    def open_all(self) -> None:
        """Let everybody go on."""
        with self._lock:
            for gate in self._gates.values():
                gate.opened.set()


def plain(value: Any) -> Any:
    """``value`` with FAILED in place of every failure: which one of several comes first is chance."""
    if isinstance(value, Failure):
        return FAILED
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


class Notes(Protocol):
    """What tasks note their runs in."""

    def note(self, label: str, args: tuple[Any, ...]) -> int:
        """A task runs; how often it has run before."""
        ...


def register(app: App, run_log: Notes, gates: Gates, *, retry_seconds: float = 0.0) -> None:
    """Give ``app`` the tasks."""
    retries = retry.fixed(retry_seconds, max_retries=2)

    def begin(label: str, args: tuple[Any, ...]) -> list[Any]:
        given = tuple(plain(list(args)))
        run_log.note(label, given)
        return [label, *given]

    def act(*args: Any, label: str) -> Any:
        return begin(label, args)

    def fail(*args: Any, label: str) -> Any:
        raise ArithmeticError(f"{begin(label, args)} fails, as it should")

    def flaky(*args: Any, label: str) -> Any:
        number = begin(label, args)
        if current_task().attempt == 0:
            raise ArithmeticError("not yet")
        return number

    def measure(text: str, *, label: str) -> int:
        begin(label, ())
        return len(text)

    for function in (act, fail, measure):
        app.task(name=function.__name__)(function)
    app.task(name="caught")(act)
    app.task(name="flaky", retry=retries)(flaky)
    app.task(name="hopeless", retry=retries)(fail)
    _register_waiting(app, run_log, gates)


def _register_waiting(app: App, run_log: Notes, gates: Gates) -> None:
    @app.task(name="wait")
    def wait(*args: Any, label: str) -> Any:
        before = run_log.note(label, args)
        gates[f"{label} {before}"].wait()
        return f"run {before}"
