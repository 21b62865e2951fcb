"""The name of the operator who gives a command, for other operators."""

from __future__ import annotations

import getpass
import socket

__all__ = ["operator_name"]


def operator_name() -> str:
    """``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # this user has no name, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
