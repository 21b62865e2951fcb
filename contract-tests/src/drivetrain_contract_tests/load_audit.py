"""What a loader does beside loading: an audit of one thread, which sees imports, executed code and opened files."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from drivetrain_contract_tests.attack_payloads import DECOY

__all__ = ["watched"]

#: The audit events of Python that loading plain values has no business with.
_FORBIDDEN = ("import", "exec", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "shutil.", "urllib.")

_watch = threading.local()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    seen: list[str] | None = getattr(_watch, "seen", None)
    if seen is not None and event.startswith(_FORBIDDEN):
        seen.append(f"{event} {arguments[0] if arguments else ''}".strip()[:100])


@cache
def _begin_auditing() -> None:
    # Python has no way to take a hook back: one for the process, which looks only where a watch is on.
    sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[Callable[[], list[str]]]:
    """Watch this thread meanwhile; gives a function that tells what it has done that loading must not do."""
    _begin_auditing()
    sys.modules.pop(DECOY, None)
    before = set(sys.modules)
    seen: list[str] = []
    _watch.seen = seen
    try:
        yield lambda: [*seen, *(f"imported {name}" for name in sorted(set(sys.modules) - before)), *_sprung()]
    finally:
        del _watch.seen


def _sprung() -> list[str]:
    bait = sys.modules.get(DECOY)
    return [f"{DECOY} was {how}" for how in bait.sprung] if bait is not None else []
