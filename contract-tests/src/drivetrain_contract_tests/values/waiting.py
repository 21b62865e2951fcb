"""Waiting until a value changes (V12 to V14)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from drivetrain.contract import Backend
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.concurrency import Background, LineUp, in_processes
from drivetrain_contract_tests.backends.timing import assert_ends_once, eventually, timed
from drivetrain_contract_tests.backends.value_calls import SOON, put, read, remove, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["ValueWaitingChecks"]

#: How long a wait has before something happens that is to wake it, in seconds.
_BEGINS_SECONDS = 0.1
#: How much longer the fastest of several waits may take, in seconds.
_LATE_SECONDS = 0.5
#: How many keys a wait for many has.
_MANY = 1_100


class ValueWaitingChecks(BackendBase):
    """A wait is woken by a change of its values, and by nothing else. For backends that declare `notifies`."""

    @holds("V12", needs="notifies")
    def test_each_kind_of_change_wakes_a_wait(self) -> None:
        """The first write of a key, a later write, one of the same bytes, and a removal each wake it by its key."""
        waiter, writer = self.several(2)
        seen = {"k": 0, "other": stored(writer, "other")}
        changes: dict[str, Callable[[], Any]] = {
            "the first write": partial(write, writer, "k", b"1"),
            "a later write": partial(write, writer, "k", b"2"),
            "a write of the same bytes": partial(write, writer, "k", b"2"),
            "a removal": partial(write, writer, "k", None),
        }
        for what, change in changes.items():
            self._assert_wakes(waiter, seen, change, ["k"], what)
            found = read(writer, "k")
            seen["k"] = 0 if found is None else found.version

    @holds("V12", needs="notifies")
    def test_a_change_below_a_prefix_wakes_a_wait(self) -> None:
        """A new key, a write and a removal of a known one, whether the wait is for keys beside the prefix or not."""
        waiter, writer = self.several(2)
        known = stored(writer, "p/known")
        seen = {"p/known": known, "beside": stored(writer, "beside")}
        self._assert_wakes(waiter, seen, partial(stored, writer, "p/new"), ["p/new"], "a new key", prefix="p/")
        seen["p/new"] = _version(writer, "p/new")
        self._assert_wakes(waiter, seen, partial(stored, writer, "p/known"), ["p/known"], "a write", prefix="p/")
        seen["p/known"] = _version(writer, "p/known")
        self._assert_wakes(waiter, seen, partial(write, writer, "p/known", None), ["p/known"], "a removal", prefix="p/")
        seen["p/known"] = 0
        self._assert_wakes(waiter, seen, partial(stored, writer, "beside"), ["beside"], "a key beside it", prefix="p/")
        seen["beside"] = _version(writer, "beside")
        self._assert_wakes(
            waiter, {}, partial(stored, writer, "z"), ["beside", "p/new", "z"], "no prefix at all", prefix=""
        )

    @holds("V12", needs="notifies")
    def test_the_characters_of_a_prefix_are_taken_literally(self) -> None:
        """A prefix with characters of a pattern matches keys with these characters, and no others."""
        waiter, writer = self.several(2)
        for prefix, other in (("*[a]?", "xa1"), ("a%_", "abc"), ("a\\*", "a*"), ("é/", "e/"), ("A/", "a/")):
            stored(writer, f"{other}k")
            wake = partial(stored, writer, f"{prefix}k")
            self._assert_wakes(waiter, {}, wake, [f"{prefix}k"], f"a key below {prefix!r}", prefix=prefix)

    @holds("V12", needs="notifies")
    def test_keys_of_any_text_are_waited_for(self) -> None:
        """A key may hold blanks, control characters and half of a surrogate pair."""
        waiter, writer = self.several(2)
        for key in ("", "a b\n", "k\0", "lone \ud800", "k" * 300):
            self._assert_wakes(waiter, {key: 0}, partial(stored, writer, key), [key], f"a write of {key[:20]!r}")

    @holds("V12", needs="notifies")
    def test_an_expiry_wakes_a_wait(self) -> None:
        """A value that has expired is gone, so it wakes a wait for its key, and one for its prefix."""
        waiter, writer = self.several(2)
        for prefix in (None, "p/"):
            seen = {"p/k": stored(writer, "p/k", seconds=SHORT), "p/stays": stored(writer, "p/stays", seconds=LONG)}
            waiting = Background(
                timed, waiter.wait_values, seen, prefix=prefix, timeout_seconds=self._wait_seconds + self.resolution
            )
            answer = waiting.result(SHORT + self.resolution + self.prompt_seconds)
            assert list(answer.answer) == ["p/k"]
            assert read(waiter, "p/k") is None, "a wait returned a value that has not expired"

    @holds("V12", needs="notifies")
    def test_one_of_many_keys_wakes_a_wait(self) -> None:
        """A wait for many keys, and one for a prefix with many, is woken by any of them: the last one too."""
        waiter, writer = self.several(2)
        keys = [f"p/{number:05}" for number in range(_MANY)]
        outcomes = writer.write_values([put(key) for key in keys])
        seen = {key: each.current.version for key, each in zip(keys, outcomes, strict=True) if each.current}
        for prefix in (None, "p/"):
            for key in (keys[0], keys[-1], *(("p/new",) if prefix else ())):
                self._assert_wakes(waiter, seen, partial(stored, writer, key), [key], "a write", prefix=prefix)
                seen[key] = _version(writer, key)

    @holds("V12", needs="notifies")
    def test_a_change_wakes_all_waits(self) -> None:
        """Several that wait, by one object or another, for the key or a prefix, are all woken."""
        one, other = self.several(2)
        calls = [
            partial(backend.wait_values, seen, prefix=prefix, timeout_seconds=self._wait_seconds)
            for backend in (one, one, other)
            for seen, prefix in (({"p/k": 0}, None), ({}, "p/"), ({"p/k": 0, "x": 0}, "p"))
        ]
        waiting = [Background(call) for call in calls]
        _assert_wait(*waiting)
        stored(other, "p/k")
        assert [list(each.result(self.prompt_seconds)) for each in waiting] == [["p/k"]] * len(waiting)

    @holds("V12", needs="notifies")
    def test_a_second_wait_is_woken_again(self) -> None:
        """A wait that ended in vain, or with a change, keeps nothing from the next one."""
        waiter, writer = self.several(2)
        seen = {"k": 0}
        assert not waiter.wait_values(seen, prefix="p/", timeout_seconds=0.01)
        for _ in range(3):
            self._assert_wakes(waiter, seen, partial(stored, writer, "k"), ["k"], "a write", prefix="p/")
            seen["k"] = _version(writer, "k")

    @holds("V12", needs="notifies")
    def test_a_change_in_another_process_wakes_a_wait(self) -> None:
        """It makes no difference which process writes."""
        self.require_processes()
        namespace = self.service.namespace()
        waiter = self.on(namespace)
        waiting = Background(waiter.wait_values, {"k": 0}, timeout_seconds=60.0)
        in_processes(self.service.url(namespace), _write_one, 1, prelude=self.service.prelude)
        assert list(waiting.result(self.prompt_seconds)) == ["k"]

    @holds("V13", needs="notifies")
    def test_what_has_changed_before_is_not_missed(self) -> None:
        """A wait reports at once what differs from what was seen: written, removed, expired and written again."""
        backend = self.fresh()
        stale = {key: stored(backend, key) for key in ("written", "removed", "again", "same")}
        stale["ended"] = stored(backend, "ended", seconds=SOON)
        backend.write_values([put("written"), remove("removed"), remove("again"), put("again"), put("new")])
        eventually(lambda: read(backend, "ended") is None, "a value ends", SOON + self.resolution + 60.0)
        for key in ("written", "removed", "again", "ended"):
            assert self._now(backend, {key: stale[key], "same": stale["same"]}) == [key]
        assert self._now(backend, {"same": 0}) == ["same"]
        assert self._now(backend, {"unknown": 7}) == ["unknown"]
        assert self._now(backend, {key: _version(backend, key) for key in ("written", "again", "same")}, "n") == ["new"]
        assert self._now(backend, {"removed": stale["removed"]}, "r") == ["removed"]

    @holds("V13", needs="notifies")
    def test_a_change_at_that_instant_is_not_missed(self) -> None:
        """A wait reports a write that comes between the read of its caller and the wait, or while the wait begins.

        Listen first and look second: what comes between looking and listening is missed.
        """
        waiter, writer = self.several(2)
        seen = {"k": 0}
        for number in range(3 * self.profile.races):
            prefix = ("k", None)[number % 2]
            waiting = Background(
                timed, waiter.wait_values, dict(seen), prefix=prefix, timeout_seconds=self._wait_seconds
            )
            threading.Event().wait(number % 10 / 2_000)
            seen["k"] = stored(writer, "k")
            answer = waiting.result()
            assert list(answer.answer) == ["k"]
            assert answer.seconds < self.prompt_seconds, "the change was missed, and seen only when the time was out"

    @holds("V14", needs="notifies")
    def test_a_wait_for_values_ends_when_its_time_is_out(self) -> None:
        """It returns empty when its time is out, neither much earlier nor much later; 0 is a look."""
        backend = self.fresh()
        seen = {"k": stored(backend), "not stored": 0}
        for prefix in (None, "k"):
            for seconds in (0.0, SHORT):
                answer = timed(backend.wait_values, seen, prefix=prefix, timeout_seconds=seconds)
                assert list(answer.answer) == []
                assert seconds - 0.05 <= answer.seconds < seconds + self.prompt_seconds

    @holds("V14", needs="notifies")
    def test_a_short_wait_for_values_is_short(self) -> None:
        """A time is rounded neither up to whole seconds nor down to none, which some services take for without end."""
        backend = self.fresh()
        for seconds in (0.0004, 0.05, 1.1):
            wait = partial(backend.wait_values, {"k": 0}, timeout_seconds=seconds)
            assert_ends_once(wait, seconds, late=_LATE_SECONDS, longest=seconds + self.prompt_seconds)

    @holds("V14", needs="notifies")
    def test_a_wait_for_nothing_returns_at_once(self) -> None:
        """Without a key and without a prefix nothing can change."""
        backend = self.fresh()
        waiting = Background(backend.wait_values, {}, timeout_seconds=self._wait_seconds)
        assert list(waiting.result(self.prompt_seconds)) == []

    @holds("V14", needs="notifies")
    def test_nothing_else_wakes_a_wait_for_values(self) -> None:
        """Neither other keys, nor refused writes, nor the removal of nothing, nor another namespace wakes it."""
        waiter, writer = self.several(2)
        elsewhere = self.fresh()
        seen = {"k": stored(writer, "k"), "p/k": stored(writer, "p/k", seconds=LONG), "nothing": 0}
        waits = [
            Background(timed, waiter.wait_values, some, prefix=prefix, timeout_seconds=2 * SHORT)
            for some, prefix in ((seen, None), (seen, "p/"))
        ]
        for number in range(10_000):
            if all(waiting.ended() for waiting in waits):
                break
            refused = [put("k", if_version=0), remove("p/k", if_version=seen["k"] + seen["p/k"]), remove("nothing")]
            writer.write_values([*refused, put(f"other {number}"), put("P/k"), put("q"), put("p"), remove("p")])
            stored(elsewhere, "k")
            stored(elsewhere, f"p/{number}")
            waits[0].ended(0.02)
        for waiting in waits:
            answer = waiting.result()
            assert list(answer.answer) == [], "woken by something else than a change of its values"
            assert answer.seconds >= 2 * SHORT - 0.05, f"woken for nothing after {answer.seconds:.2f} s"

    @property
    def _wait_seconds(self) -> float:
        """How long a wait lasts that is to be woken."""
        return 2 * self.prompt_seconds

    def _now(self, backend: Backend, seen: Mapping[str, int], prefix: str | None = None) -> list[str]:
        """What a wait returns at once."""
        waiting = Background(backend.wait_values, seen, prefix=prefix, timeout_seconds=self._wait_seconds)
        return sorted(waiting.result(self.prompt_seconds))

    def _assert_wakes(
        self,
        waiter: Backend,
        seen: Mapping[str, int],
        change: Callable[[], object],
        expected: Sequence[str],
        what: str,
        *,
        prefix: str | None = None,
    ) -> None:
        """Assert that a change wakes a wait soon, which returns some of the keys ``expected``, and no others."""
        waiting = Background(timed, waiter.wait_values, dict(seen), prefix=prefix, timeout_seconds=self._wait_seconds)
        if len(expected) == 1:
            _assert_wait(waiting)
        change()
        answer = waiting.result()
        assert answer.answer, f"{what} has not woken a wait"
        assert set(answer.answer) <= set(expected), f"{what} has woken a wait, which names {answer.answer}"
        assert answer.seconds < _BEGINS_SECONDS + self.prompt_seconds, f"{what} has woken a wait late"


def _assert_wait(*waits: Background[Any]) -> None:
    """Assert that waits have not ended, once they had the time to begin."""
    for number, waiting in enumerate(waits):
        assert not waiting.ended(0.0 if number else _BEGINS_SECONDS), "a wait has ended before anything happened"


def _version(backend: Backend, key: str) -> int:
    found = read(backend, key)
    assert found is not None
    return found.version


def _write_one(backend: Backend, _: int, __: LineUp) -> None:
    stored(backend, "k")
