"""Trying random workflows: each on a harness that no failed one has touched, and shrinking for a while only."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from drivetrain import App
from drivetrain_contract_tests.workflows.app_harness import AppHarness

__all__ = ["Examples"]


class Examples:
    """Plays examples on one harness with two workers; after one that fails, on a new one.

    Args:
        make: makes a harness.
        shrink_seconds: how long smaller examples of a failure are looked for.
    """

    def __init__(self, make: Callable[[], AppHarness], *, shrink_seconds: float) -> None:
        self._make = make
        self._shrink_seconds = shrink_seconds
        self._stage: AppHarness | None = None
        self._app: App | None = None
        #: What has failed, by the example, so that the same example always fails alike.
        self._failed: dict[str, BaseException] = {}
        self._end = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    def play(self, name: str, function: Callable[[AppHarness, App], None]) -> None:
        """Play an example, unless it is known to fail, or shrinking has taken too long."""
        if (known := self._failed.get(name)) is not None:
            raise known
        if self._failed and time.monotonic() > self._end:
            return
        try:
            function(*self._ready())
        except Exception as error:
            self._end = self._end or time.monotonic() + self._shrink_seconds
            self._failed[name] = error
            self._leave(error)
            raise

    def _ready(self) -> tuple[AppHarness, App]:
        if self._stage is None or self._app is None:
            self._stage = self._make()
            self._app = self._stage.working()
            self._stage.working()
        return self._stage, self._app

    def _leave(self, error: BaseException | None) -> None:
        harness, self._stage, self._app = self._stage, None, None
        if harness is not None:
            harness.__exit__(None if error is None else type(error), error, None)
