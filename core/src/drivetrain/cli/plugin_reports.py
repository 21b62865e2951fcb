"""What plugins of worker processes report to their parts in the supervisor.

A pipe of its own connects the supervisor with each worker process, since plugins ask at any time and in any thread. The
supervisor sends a number and the name of a plugin; a worker process answers with the number and the plugin's report.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Pipe
from typing import Any

from drivetrain.app.observers import plugin_manager
from drivetrain.contract import SupervisorPart

__all__ = ["ReportChannels", "SupervisorParts", "pickled_parts", "serve_reports"]

logger = logging.getLogger("drivetrain.supervisor")

#: How long all worker processes together may take to answer, in seconds.
_ANSWER_SECONDS = 1.0


class ReportChannels:
    """The supervisor's ends of the pipes, by the numbers of the worker processes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[int, connection.Connection[Any, Any]] = {}
        self._asked = 0

    def open(self, number: int) -> connection.Connection[Any, Any]:
        """A pipe to a worker process that is about to start: the end for that process."""
        ours, theirs = Pipe()
        with self._lock:
            self._channels[number] = ours
        return theirs

    def close(self, number: int) -> None:
        """Close the pipe to a worker process that has ended."""
        with self._lock:
            if (channel := self._channels.pop(number, None)) is not None:
                channel.close()

    def collect(self, plugin: str) -> Sequence[tuple[int, bytes]]:
        """The reports of a plugin, in the order of the processes; those that do not answer in time are left out."""
        with self._lock:
            self._asked += 1
            waiting = {channel: number for number, channel in self._channels.items() if self._ask(channel, plugin)}
            reports: list[tuple[int, bytes]] = []
            end = time.monotonic() + _ANSWER_SECONDS
            while waiting and (remaining := end - time.monotonic()) > 0:
                for channel in connection.wait(list(waiting), timeout=remaining):
                    answer = _received(channel)  # type: ignore[arg-type]
                    if answer is not None and answer[0] != self._asked:
                        continue  # it came too late for an earlier question
                    number = waiting.pop(channel)  # type: ignore[call-overload]
                    if answer is not None and answer[1] is not None:
                        reports.append((number, answer[1]))
            return sorted(reports)

    def _ask(self, channel: connection.Connection[Any, Any], plugin: str) -> bool:
        try:
            channel.send((self._asked, plugin))
        except OSError:  # the process has just ended
            return False
        return True


def _received(channel: connection.Connection[Any, Any]) -> tuple[int, bytes | None] | None:
    try:
        answer: tuple[int, bytes | None] = channel.recv()
    except (EOFError, OSError):
        return None
    return answer


class SupervisorParts:
    """The parts of plugins that run in the supervisor. For one thread."""

    def __init__(self, channels: ReportChannels) -> None:
        self._channels = channels
        self._stops: list[tuple[str, Callable[[], None]]] = []

    def start(self, parts: Sequence[tuple[str, bytes]]) -> None:
        """Start these; each with the name of its plugin, and pickled. An error is logged."""
        for plugin, pickled in parts:
            try:
                part: SupervisorPart = pickle.loads(pickled)  # noqa: S301 - from our own worker process
                stop = part.start(partial(self._channels.collect, plugin))
            except Exception:  # a plugin must not end the supervisor
                logger.exception("the part of %s in the supervisor has failed; continuing without it", plugin)
            else:
                self._stops.append((plugin, stop))

    def stop(self) -> None:
        """Stop those that have started. An error is logged."""
        for plugin, stop in self._stops:
            try:
                stop()
            except Exception:  # as above
                logger.exception("the part of %s in the supervisor cannot be stopped", plugin)
        self._stops.clear()


# In a worker process


def pickled_parts(plugins: Mapping[str, object]) -> list[tuple[str, bytes]]:
    """The supervisor parts of plugins, each with the name of its plugin, and pickled. An error is logged."""
    parts: list[tuple[str, bytes]] = []
    for name, plugin in plugins.items():
        try:
            part = plugin_manager({name: plugin}).hook.supervisor_part()
            if part is not None:
                parts.append((name, pickle.dumps(part)))
        except Exception:  # a plugin must not end the worker
            logger.exception("%s raised an error in its hook supervisor_part; continuing without it", name)
    return parts


def serve_reports(supervisor: connection.Connection[Any, Any], plugins: Mapping[str, object]) -> None:
    """Answer the supervisor until it closes its end. Runs in a thread of its own."""
    hooks = {name: plugin_manager({name: plugin}).hook.worker_report for name, plugin in plugins.items()}
    with suppress(EOFError, OSError):
        while True:
            number, name = supervisor.recv()
            try:
                report = hooks[name]()
            except Exception:  # a plugin must not end the worker
                logger.exception("%s raised an error in its hook worker_report; ignoring it", name)
                report = None
            supervisor.send((number, report))
