"""A warning where blocking calls are made on an event loop: they stop everything else that runs on it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

__all__ = ["BlockingCallWarning", "warn_if_loop_runs"]

#: Where the code of this package is: the warning names the caller outside of it.
_PACKAGE = str(Path(__file__).parents[1])


class BlockingCallWarning(RuntimeWarning):
    """A blocking call was made on a running event loop. Python shows it once for each line of code."""


def warn_if_loop_runs(call: str, instead: str) -> None:
    """Warn if an event loop runs in this thread, which the call blocks.

    Not in a notebook: its cells run on an event loop, and block nothing but the notebook itself.

    Args:
        call: the blocking call.
        instead: what to write.
    """
    events = sys.modules.get("asyncio.events")  # most senders never import asyncio
    if events is None or events._get_running_loop() is None or "ipykernel" in sys.modules:
        return
    text = f"{call} blocks the event loop that runs in this thread, and all that runs on it; use {instead}"
    warnings.warn(text, BlockingCallWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """How many frames above `warn_if_loop_runs` the first one outside of this package is, as warnings count."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level
