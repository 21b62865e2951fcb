"""Which members of a group are complete, as bits. Pure.

A group has words of bits, ``{"b0": …, "b1": …}``. The server sets bits in one step (``$bit``), and setting one twice
changes nothing. The words before that step show which bits were new. The bits of ten thousand members have 2 kB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bson import Int64

__all__ = ["contains", "count", "indexes", "operation", "parts"]

#: Bits of a word: fewer than a signed 64-bit integer has, so that no number is ever negative.
_WIDTH = 60
#: Words in one update, which keeps it small. (nx-27017 ignores an update with more than 60.)
_WORDS_AT_ONCE = 50


def parts(members: Iterable[int]) -> list[list[int]]:
    """The members in parts; one update sets the bits of one part."""
    words: dict[int, list[int]] = {}
    for index in members:
        words.setdefault(index // _WIDTH, []).append(index)
    several = list(words.values())
    return [
        [index for word in several[first : first + _WORDS_AT_ONCE] for index in word]
        for first in range(0, len(several), _WORDS_AT_ONCE)
    ]


def operation(field: str, members: Iterable[int]) -> dict[str, dict[str, Int64]]:
    """The operand of ``$bit`` that sets the bits of members."""
    words: dict[str, int] = {}
    for index in members:
        word, bit = divmod(index, _WIDTH)
        name = f"{field}.b{word}"
        words[name] = words.get(name, 0) | 1 << bit
    return {name: {"or": Int64(bits)} for name, bits in words.items()}


def indexes(words: Mapping[str, int]) -> set[int]:
    """The members whose bits are set."""
    return {int(name[1:]) * _WIDTH + bit for name, bits in words.items() for bit in range(_WIDTH) if bits >> bit & 1}


def count(words: Mapping[str, int]) -> int:
    """How many bits are set."""
    return sum(bits.bit_count() for bits in words.values())


def contains(words: Mapping[str, int], index: int) -> bool:
    """Whether the bit of a member is set."""
    word, bit = divmod(index, _WIDTH)
    return bool(words.get(f"b{word}", 0) >> bit & 1)
