"""Tells systemd about the worker: that it is ready, that it lives, that it stops. Without systemd it does nothing.

See sd_notify(3). A unit with ``Type=notify`` sets NOTIFY_SOCKET; ``WatchdogSec=`` sets WATCHDOG_USEC.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

__all__ = ["Systemd"]

logger = logging.getLogger("drivetrain.supervisor")


class Systemd:
    """The connection to systemd, for the main process of a unit. For one thread.

    Args:
        environment: the variables of the process. Those of systemd are removed, so that children do not have them.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._address = found.get("NOTIFY_SOCKET", "")
        self._alive_at = 0.0
        #: How often systemd wants to hear that it lives, in seconds: three times in WatchdogSec. None: not at all.
        self.alive_seconds = _watchdog_seconds(found)
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            if environment is None:
                os.environ.pop(name, None)

    def ready(self, status: str) -> None:
        """The worker receives; ``systemctl status`` shows the text."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """The worker stops."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        """The supervisor lives. Call it often; it sends as often as systemd wants to hear it."""
        now = time.monotonic()
        if self.alive_seconds is not None and now >= self._alive_at:
            self._alive_at = now + self.alive_seconds
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace of Linux.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), address)
        except OSError as error:
            logger.warning("cannot notify systemd at %s: %s", self._address, error)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 / 3 if microseconds.isdecimal() and meant else None
