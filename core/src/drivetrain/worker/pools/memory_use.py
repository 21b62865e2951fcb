"""How much memory this process uses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["memory_bytes"]

_STATM = Path("/proc/self/statm")


def memory_bytes() -> int:
    """The resident memory of this process, in bytes; where the system has no ``/proc``: its highest value so far.

    0 where the system tells neither.
    """
    with suppress(OSError, ValueError):
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:
        return 0
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
