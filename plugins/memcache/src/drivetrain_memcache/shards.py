"""Which members of a group are complete: a bit for each, in shards. Pure.

A shard is one item, changed by compare-and-set. For all but the largest groups there is one, so that a completion and
the count that answers it are one atomic step; and no change ever rewrites more than a shard, however large the group.
"""

from __future__ import annotations

from attrs import evolve, frozen

__all__ = ["LARGEST_GROUP", "SHARD", "Shard", "place", "sizes"]

#: Members of a shard: 2 kB.
SHARD = 16 * 1024
#: More members than anybody will ever open, and few enough shards to make them at once.
LARGEST_GROUP = 1_000_000

_FAILED, _SPLIT = 1, 2


@frozen
class Shard:
    """Some members of a group, from a multiple of `SHARD` on."""

    #: Bit n: the n-th of them is complete.
    bits: int = 0
    #: Whether one of them has failed the group.
    failed: bool = False
    #: Whether the payload of one of them is larger than an item, so that it has parts to be dropped with it.
    split: bool = False

    @property
    def done(self) -> int:
        """How many are complete."""
        return self.bits.bit_count()

    def holds(self, position: int) -> bool:
        """Whether this member is complete."""
        return bool(self.bits >> position & 1)

    def complete(self, position: int, *, failed: bool, split: bool = False) -> Shard:
        """With this member complete."""
        bits = self.bits | 1 << position
        return evolve(self, bits=bits, failed=self.failed or failed, split=self.split or split)

    def dump(self) -> bytes:
        """As bytes: one for the two signs, then the bits."""
        signs = self.failed * _FAILED | self.split * _SPLIT
        return bytes([signs]) + self.bits.to_bytes((self.bits.bit_length() + 7) // 8, "little")

    @classmethod
    def load(cls, data: bytes) -> Shard:
        """From bytes."""
        return cls(int.from_bytes(data[1:], "little"), bool(data[0] & _FAILED), bool(data[0] & _SPLIT))


def sizes(size: int) -> list[int]:
    """How many members each shard of a group of ``size`` has. A group of none has a shard too."""
    whole, rest = divmod(size, SHARD)
    return [SHARD] * whole + ([rest] if rest or not whole else [])


def place(index: int) -> tuple[int, int]:
    """The shard of a member, and its position there."""
    return divmod(index, SHARD)
