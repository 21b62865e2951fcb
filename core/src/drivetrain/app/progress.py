"""Progress of a group: a function of (done, total), or the progress bar of tqdm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from drivetrain.contract import ConfigurationError

__all__ = ["Progress", "progress_bar"]

#: Called with the number of complete members and the number of all members.
Progress: TypeAlias = Callable[[int, int], object]


def progress_bar(total: int) -> Progress:
    """A progress bar on the terminal for ``total`` members.

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

    def report(done: int, _total: int) -> None:
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return report
