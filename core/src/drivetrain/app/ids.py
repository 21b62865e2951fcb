"""New ids: 32 hexadecimal digits, in the order in which they are made (UUID version 7, RFC 9562, without dashes)."""

from __future__ import annotations

import os
import threading
import time

from drivetrain.contract import reset_after_fork

__all__ = ["new_id"]

_BYTES_OF_AN_ID = 10
#: How many ids one call of the operating system serves. A call lets other threads run, so that a sender loses its turn.
_IDS_AT_ONCE = 100


class _RandomBytes:
    """Random bytes of the operating system, taken in advance. Thread-safe; a forked child takes its own."""

    def __init__(self) -> None:
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`."""
        self._lock = threading.Lock()
        self._parts: list[bytes] = []

    def take(self) -> bytes:
        """The random bytes of one id, which nobody else gets."""
        with self._lock:
            if not self._parts:
                block = os.urandom(_BYTES_OF_AN_ID * _IDS_AT_ONCE)
                self._parts = [block[at : at + _BYTES_OF_AN_ID] for at in range(0, len(block), _BYTES_OF_AN_ID)]
            return self._parts.pop()


_random_bytes = _RandomBytes()


def new_id() -> str:
    """A unique id. Ids of later milliseconds sort later, which keeps the indexes of backends compact."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_random_bytes.take(), "big")
    version_and_random = 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    return f"{milliseconds << 80 | version_and_random | 0b10 << 62 | random & (1 << 62) - 1:032x}"
