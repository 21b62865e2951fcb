"""What a write of a versioned value does, given what is stored. Pure.

For a driver that reads, decides in Python and writes: in a transaction, behind a lock, by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Iterable

from drivetrain.contract.kit.sizes import check_size
from drivetrain.contract.versioned_values import ValueWrite, VersionedValue

__all__ = ["check_value_sizes", "takes_effect"]


def takes_effect(write: ValueWrite, stored: VersionedValue | None) -> bool:
    """Whether a write or a removal takes effect.

    Args:
        write: the write.
        stored: what its key has now; None: nothing is stored, or it has expired.
    """
    return write.if_version is None or write.if_version == (0 if stored is None else stored.version)


def check_value_sizes(writes: Iterable[ValueWrite], largest_bytes: int) -> None:
    """Check the values of a batch.

    Raises:
        TooLarge: one of them has more than ``largest_bytes``.
    """
    for write in writes:
        check_size("a versioned value", write.value, largest_bytes)
