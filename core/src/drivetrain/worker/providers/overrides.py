"""Other providers in place of those that tasks name, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from drivetrain.contract import reset_after_fork

__all__ = ["ProviderOverrides"]


class ProviderOverrides:
    """The providers of an app that others replace for a time. Thread-safe."""

    def __init__(self) -> None:
        self._replacements: Mapping[Callable[..., Any], Callable[..., Any]] = {}
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._lock = threading.Lock()

    @property
    def active(self) -> bool:
        """Whether anything is replaced now."""
        return bool(self._replacements)

    def of(self, provider: Callable[..., Any]) -> Callable[..., Any]:
        """What is called in place of a provider: its replacement, or itself."""
        return self._replacements.get(provider, provider)

    @contextmanager
    def override(self, provider: Callable[..., Any], replacement: Callable[..., Any]) -> Iterator[None]:
        """Call ``replacement`` in place of ``provider`` until the context ends."""
        with self._lock:
            before = self._replacements.get(provider)
            self._replacements = {**self._replacements, provider: replacement}
        try:
            yield
        finally:
            with self._lock:
                others = {known: other for known, other in self._replacements.items() if known != provider}
                self._replacements = others if before is None else {**others, provider: before}
