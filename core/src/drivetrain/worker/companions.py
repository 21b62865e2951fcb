"""Companions of a worker: what an app runs in threads of the worker, beside its tasks."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Companion"]


class Companion(Protocol):
    """Works in a thread of its own as long as the worker runs. An error that `run` raises stops the worker."""

    @property
    def name(self) -> str:
        """The name of its thread."""
        ...

    def run(self) -> None:
        """Work until `stop` is called."""
        ...

    def stop(self) -> None:
        """End `run` soon. Called once, from another thread."""
        ...
