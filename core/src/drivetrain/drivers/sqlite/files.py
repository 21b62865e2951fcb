"""Files that are closed in forks."""

from __future__ import annotations

import os

__all__ = ["close", "keep"]

#: To be closed in forks: a lock lasts for as long as any process has its file open, and a fork may outlive us.
_files: set[int] = set()


def keep(file: int) -> int:
    """``file``, which is closed in forks from now on."""
    _files.add(file)
    return file


def close(file: int) -> None:
    """Close what `keep` was told of."""
    _files.discard(file)
    os.close(file)


def _close_all() -> None:
    while _files:
        os.close(_files.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
