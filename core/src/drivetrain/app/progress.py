"""Progress of tasks and workflows: the value, the callback that gets it, and a progress bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeAlias

from drivetrain.contract import ConfigurationError

__all__ = ["Progress", "ProgressCallback", "progress_bar"]

#: Called with what is done and what there is to do.
ProgressCallback: TypeAlias = Callable[[float, float], object]


class Progress(tuple[float, float]):  # noqa: SLOT001 - a tuple cannot have slots
    """How much is done of how much: a pair such as ``(7, 10)``. Immutable.

    What is counted depends on the result:

    - a group, and a chord: members that have ended. The callback of a chord is not counted.
    - a chain: its tasks that have ended. A group in it counts as many as it has members.
    - a task: what it has reported; otherwise ``(0, 1)``, and ``(1, 1)`` when it has ended.

    Tasks that ended without success have ended too.
    """

    #: What a task says that it does now; empty: nothing.
    note: str

    def __new__(cls, done: float, total: float, note: str = "") -> Self:
        """Make it.

        Args:
            done: how much is done.
            total: how much there is to do.
            note: what is done now.
        """
        made = super().__new__(cls, (done, total))
        made.note = note
        return made

    @property
    def done(self) -> float:
        """How much is done, 0 or more."""
        return self[0]

    @property
    def total(self) -> float:
        """How much there is to do."""
        return self[1]

    def __str__(self) -> str:
        return f"{self.done} of {self.total}" + (f": {self.note}" if self.note else "")

    def __reduce__(self) -> tuple[type[Progress], tuple[float, float, str]]:
        return Progress, (self.done, self.total, self.note)


def progress_bar(total: float) -> ProgressCallback:
    """A progress bar on the terminal. Its total follows the reports.

    Raises:
        ConfigurationError: tqdm is not installed.
    """
    try:
        from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise ConfigurationError(
            "progress=True needs tqdm: pip install 'drivetrain[progress]', or pass a function of (done, total)"
        ) from None
    bar = tqdm(total=total, unit="task")

    def report(done: float, latest_total: float) -> None:
        if latest_total != bar.total:
            bar.total = latest_total
            bar.refresh()
        bar.update(done - bar.n)
        if done >= latest_total:
            bar.close()

    return report
