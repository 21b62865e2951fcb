"""What a driver does beside what it is asked: I/O of one thread, seen from the interpreter."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["io_of_this_thread"]

#: Audit events of reaching out. Reading files is left out: clients read their own data when they are made.
_EVENTS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto", "sqlite3.connect", "os.mkdir"})

_seen = threading.local()
_hook_lock = threading.Lock()
_hooked: list[bool] = []


@contextmanager
def io_of_this_thread() -> Iterator[list[str]]:
    """The I/O that this thread does meanwhile, in words."""
    _hook()
    found: list[str] = []
    _seen.found = found
    try:
        yield found
    finally:
        _seen.found = None


def _hook() -> None:
    with _hook_lock:
        if not _hooked:  # a hook is for ever
            _hooked.append(True)
            sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    found = getattr(_seen, "found", None)
    if found is not None and (event in _EVENTS or (event == "open" and _writes(arguments))):
        found.append(f"{event} {arguments[:2]}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, _ = arguments
    return isinstance(mode, str) and any(sign in mode for sign in "wax+")
