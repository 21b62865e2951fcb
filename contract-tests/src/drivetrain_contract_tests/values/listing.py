"""Lists of versioned values, page by page, while others write (V8)."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final, TypeAlias

from drivetrain.contract import Backend
from drivetrain_contract_tests.attack_payloads import ALIKE, NAMES
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import HOSTILE_NAMES
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.backends.value_calls import SOON, listed, listed_keys, pages, put, remove, stored
from drivetrain_contract_tests.clauses import holds

__all__ = ["ValueListingChecks"]

_LIMIT = 3
_KEYS: Final = [f"k{number}" for number in range(20)]
#: Keys whose last character has no larger one in its encoding, or in the order of a service.
_LAST = ("a\x7f", "a\xff", "a\u07ff", "a\ud7ff", "a\uffff", "a\U0010ffff", "a\U0010ffff\U0010ffff")

#: What happens after a page, given the keys on the pages so far and those on none yet; the keys that it removes.
_Event: TypeAlias = Callable[[Backend, Sequence[str], Sequence[str]], AbstractSet[str]]


class ValueListingChecks(BackendBase):
    """A list has each value once, and no other."""

    @holds("V8")
    def test_values_are_listed_by_pages(self) -> None:
        """No page is longer than its limit. Together they have each key once, with its value, version and end."""
        backend = self.fresh()
        backend.write_values([put(key, key.encode()) for key in _KEYS])
        stored(backend, "k0", b"later", seconds=LONG)
        found = dict(zip(_KEYS, backend.read_values(_KEYS), strict=True))
        for prefix, limit in itertools.product(("", "k1"), (1, 7, 20, 21, 1_000)):
            entries = listed(backend, prefix, limit)
            expected_keys = sorted(key for key in _KEYS if key.startswith(prefix))
            assert sorted(key for key, _ in entries) == expected_keys, (
                f"by pages of {limit}, with the prefix {prefix!r}"
            )
            for key, value in entries:
                expected = found[key]
                assert expected is not None
                assert (value.value, value.version) == (expected.value, expected.version)
                assert (value.expires_in_seconds is None) == (expected.expires_in_seconds is None)

    @holds("V8")
    def test_a_list_of_nothing_ends(self) -> None:
        """Where nothing is stored, or nothing with the prefix, no page has a value, and there is a last page."""
        backend = self.fresh()
        assert listed(backend, limit=1) == []
        backend.write_values([put(key) for key in _KEYS])
        assert listed(backend, "other", limit=1) == []
        backend.write_values([remove(key) for key in _KEYS])
        assert listed(backend, limit=1) == [], "values are listed that were removed"

    @holds("V8", "V9")
    def test_a_prefix_is_taken_literally(self) -> None:
        """Each character of a prefix is one of the key: none is a pattern, and none is normalized.

        The keys are names that services take for each other, with and without more behind them.
        """
        backend = self.fresh()
        plain = [name for group in ALIKE for name in group]
        keys = list(dict.fromkeys([*NAMES, *plain, *(f"{name}x" for name in plain if len(name) < 20), *_LAST, ""]))
        backend.write_values([put(key) for key in keys])
        prefixes = [name for name in plain if len(name) < 20] + ["", "x", "x" * 300, "a%", "%_*", "k?", *_LAST]
        for prefix in dict.fromkeys(prefixes):
            expected = sorted(key for key in keys if key.startswith(prefix))
            actual = listed_keys(backend, prefix, limit=1_000)
            wrong = Counter(actual)
            wrong.subtract(expected)
            left = {key[:50]: number for key, number in wrong.items() if number}
            assert not left, f"with the prefix {prefix!r:.80} these keys are listed too often or not at all: {left}"

    @holds("V8")
    def test_any_key_may_be_the_last_of_a_page(self) -> None:
        """A list goes on behind it: keys are neither cut nor put into another order for a cursor."""
        backend = self.fresh()
        keys = sorted({*HOSTILE_NAMES, *_LAST, "", *("x" * 300 + end for end in "abc")})
        backend.write_values([put(key) for key in keys])
        assert listed_keys(backend, limit=1) == keys

    @holds("V8")
    def test_what_happens_between_two_pages_hides_and_repeats_no_value(self) -> None:
        """A value that is stored all the time is listed once, whatever is written. No key is listed twice.

        A position in a list cannot be a cursor: it moves when a value is removed. Nor can a version: writes change it.
        """
        for event in _EVENTS:
            backend = self.fresh()
            backend.write_values([put(key) for key in _KEYS])
            seen, gone = list[str](), set[str]()
            for page in pages(backend, "k", _LIMIT):
                keys = [key for key, _ in page.values]
                assert not gone.intersection(keys), f"{event.__name__}: listed though removed"
                seen += keys
                gone |= event(backend, seen, [key for key in _KEYS if key not in {*seen, *gone}])
            hidden = [key for key in _KEYS if key not in {*seen, *gone}]
            assert hidden == [], f"{event.__name__}: not listed"
            twice = [key for key, number in Counter(seen).items() if number > 1]
            assert twice == [], f"{event.__name__}: listed twice"

    @holds("V8")
    def test_a_list_is_complete_while_others_write(self) -> None:
        """Threads write, remove and write again; each list has all values that stay, each of them once."""
        one, other = self.several(2)
        one.write_values([put(key) for key in _KEYS])
        over = threading.Event()
        writing = [Background(_write_all, one, over), Background(_come_and_go, other, over)]
        try:
            for _ in range(self.profile.races):
                keys = Counter(key for key, _ in listed(other, limit=_LIMIT))
                assert [key for key in _KEYS if key not in keys] == [], "not listed while it was written"
                assert [key for key, number in keys.items() if number > 1] == [], "listed twice while it was written"
        finally:
            over.set()
        for each in writing:
            each.result()

    @holds("V4", "V8")
    def test_values_end_between_two_pages(self) -> None:
        """What has ended is on no later page, and hides nothing."""
        backend = self.fresh()
        ends = {key for number, key in enumerate(_KEYS) if number % 2}
        backend.write_values([put(key, seconds=SOON if key in ends else None) for key in _KEYS])
        listing = pages(backend, "k", _LIMIT)
        first = [key for key, _ in next(listing).values]
        longest = SOON + self.resolution + self.patience_seconds
        eventually(partial(_all_are_gone, backend, ends), "the values end", longest)
        later = [key for page in listing for key, _ in page.values]
        assert ends.intersection(later) == set(), "listed though ended"
        assert sorted({*first, *later} - ends) == sorted(set(_KEYS) - ends)
        assert len(set(first + later)) == len(first + later), "a key was listed twice"

    @holds("V8")
    def test_each_of_several_lists_is_complete(self) -> None:
        """Callers that list at the same time get all values each, by one object or by several."""
        one, other = self.several(2)
        one.write_values([put(key) for key in _KEYS])
        lists = [pages(backend, "k", limit) for backend in (one, one, other) for limit in (_LIMIT, 7)]
        seen = [list[str]() for _ in lists]
        turns = deque(zip(lists, seen, strict=True))
        while turns:
            listing, keys = turns.popleft()
            if (page := next(listing, None)) is not None:
                keys += [key for key, _ in page.values]
                turns.append((listing, keys))
        assert [sorted(keys) for keys in seen] == [sorted(_KEYS)] * len(lists)

    @holds("V8")
    def test_another_object_goes_on_with_a_list(self) -> None:
        """A cursor says all that is needed: each page may be read by another object."""
        one, other = self.several(2)
        one.write_values([put(key) for key in _KEYS])
        keys, cursor, number = list[str](), None, 0
        while number == 0 or cursor is not None:
            page = (one, other)[number % 2].list_values("k", limit=_LIMIT, cursor=cursor)
            keys += [key for key, _ in page.values]
            cursor, number = page.cursor, number + 1
        assert sorted(keys) == sorted(_KEYS)


def _all_are_gone(backend: Backend, keys: AbstractSet[str]) -> bool:
    return not any(backend.read_values(sorted(keys)))


def _write_all(backend: Backend, over: threading.Event) -> None:
    while not over.is_set():
        backend.write_values([put(key, b"again") for key in _KEYS])


def _come_and_go(backend: Backend, over: threading.Event) -> None:
    number = 0
    while not over.is_set():
        keys = [f"{prefix}{number}" for prefix in ("a", "k0-", "k2-", "z")]
        backend.write_values([put(key) for key in keys])
        backend.write_values([remove(key) for key in keys])
        number += 1


def _listed_values_are_removed(backend: Backend, seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    backend.write_values([remove(key) for key in seen])
    return {*seen}


def _one_is_removed_and_others_are_new(
    backend: Backend, seen: Sequence[str], _unseen: Sequence[str]
) -> AbstractSet[str]:
    backend.write_values([remove(key) for key in seen[:1]])
    if len(seen) <= 3 * _LIMIT:  # where new values are listed last, the list would never end
        backend.write_values([put(f"{prefix}{len(seen)}") for prefix in ("a", "k", "k1 is new ", "k5 is new ", "z")])
    return {*seen[:1]}


def _the_last_of_the_page_is_removed(backend: Backend, seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    backend.write_values([remove(key) for key in seen[-1:]])
    return {*seen[-1:]}


def _a_value_of_a_later_page_is_removed(
    backend: Backend, _seen: Sequence[str], unseen: Sequence[str]
) -> AbstractSet[str]:
    backend.write_values([remove(key) for key in unseen[-1:]])
    return {*unseen[-1:]}


def _all_are_written(backend: Backend, seen: Sequence[str], unseen: Sequence[str]) -> AbstractSet[str]:
    backend.write_values([put(key, b"again", seconds=LONG) for key in (*unseen, *seen)])
    return set()


def _listed_values_are_removed_and_written(
    backend: Backend, seen: Sequence[str], _unseen: Sequence[str]
) -> AbstractSet[str]:
    # Each is one that others have removed meanwhile: it may be on no later page, because it was on one.
    backend.write_values([each for key in seen for each in (remove(key), put(key))])
    backend.sweep()
    return set()


def _nothing_happens(_backend: Backend, _seen: Sequence[str], _unseen: Sequence[str]) -> AbstractSet[str]:
    return set()


_EVENTS: Final[tuple[_Event, ...]] = (
    _nothing_happens,
    _listed_values_are_removed,
    _one_is_removed_and_others_are_new,
    _the_last_of_the_page_is_removed,
    _a_value_of_a_later_page_is_removed,
    _all_are_written,
    _listed_values_are_removed_and_written,
)
