"""New ids: 32 hexadecimal digits, in the order in which they are made (UUID version 7, RFC 9562, without dashes)."""

from __future__ import annotations

import os
import time

__all__ = ["new_id"]


def new_id() -> str:
    """A unique id. Ids of later milliseconds sort later, which keeps the indexes of backends compact."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    version_and_random = 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    return f"{milliseconds << 80 | version_and_random | 0b10 << 62 | random & (1 << 62) - 1:032x}"
