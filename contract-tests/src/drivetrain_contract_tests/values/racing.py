"""Several callers that write one value at the same instant (V2)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from drivetrain.contract import Backend
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.concurrency import LineUp, in_processes, together
from drivetrain_contract_tests.backends.races import nothing_prepared, raced
from drivetrain_contract_tests.backends.value_calls import put, read, remove, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["ValueRaceChecks"]

#: How long one race lasts for each of the profile's races, in seconds.
_SECONDS_PER_RACE = 0.03
_THREADS, _PROCESSES = 4, 2
_NAMES_OF_PROCESSES = 20
#: A value that is to have ended soon lasts as long, in seconds.
_SHORTEST = 0.01


class ValueRaceChecks(BackendBase):
    """Of several writes with the same `if_version`, one takes effect."""

    @holds("V2")
    def test_of_many_writes_one_takes_effect_where_nothing_is_stored(self) -> None:
        """Threads of two objects write with 0 at the same instant, where nothing was ever stored."""
        self._assert_one_writes(nothing_prepared)

    @holds("V2")
    def test_of_many_writes_one_takes_effect_where_a_value_was_removed(self) -> None:
        """A service may keep something of a removed value, for the sake of its version."""

        def prepare(backend: Backend, keys: Sequence[str]) -> None:
            backend.write_values([each for key in keys for each in (put(key), remove(key))])

        self._assert_one_writes(prepare)

    @holds("V2", "V4")
    def test_of_many_writes_one_takes_effect_where_a_value_has_ended(self) -> None:
        """A driver may drop what has ended when somebody looks at it."""

        def prepare(backend: Backend, keys: Sequence[str]) -> None:
            backend.write_values([put(key, seconds=_SHORTEST) for key in keys])
            # Nobody asks meanwhile.
            threading.Event().wait(_SHORTEST + self.resolution + _SHORTEST)

        self._assert_one_writes(prepare)

    @holds("V2")
    def test_of_many_writes_one_takes_effect_on_a_stored_value(self) -> None:
        """All callers have seen the same version; one writes, and the value that stays is that one's."""
        seen = dict[str, int]()

        def prepare(backend: Backend, keys: Sequence[str]) -> None:
            answers = backend.write_values([put(key, b"seen") for key in keys])
            for key, answer in zip(keys, answers, strict=True):
                assert answer.current is not None
                seen[key] = answer.current.version

        self._assert_one_writes(prepare, lambda key: seen[key])

    @holds("V2", "V4")
    def test_a_value_that_ends_is_prolonged_or_replaced(self) -> None:
        """One caller prolongs a value at its end, with its version, and others write with 0: only one takes effect."""
        seen = dict[str, int]()

        def prepare(backend: Backend, keys: Sequence[str]) -> None:
            # Each value ends at about the instant at which it is raced for.
            ends = [put(key, b"seen", seconds=_SHORTEST * (number + 1) / 5) for number, key in enumerate(keys)]
            seen.update(
                (key, answer.current.version)
                for key, answer in zip(keys, backend.write_values(ends), strict=True)
                if answer.current is not None
            )

        def ask(backend: Backend, key: str, caller: int) -> bool:
            return write(backend, key, b"%d" % caller, if_version=0 if caller else seen[key]).written

        for key, answers, backend in self._raced(prepare, ask):
            assert sum(answers) <= 1, (
                f"{key} was prolonged with its version and written with 0 at one instant, and {sum(answers)} writes "
                f"took effect: those of {answers}"
            )
            found = read(backend, key)
            if sum(answers) == 1:
                assert found is not None, f"a write of {key} took effect, and nothing is stored"
                assert found.value == b"%d" % list(answers).index(True)

    @holds("V2", "V5")
    def test_of_writes_and_removals_one_takes_effect(self) -> None:
        """Half of the callers write, and half remove: what is stored afterwards is what the one has done."""
        seen = dict[str, int]()

        def prepare(backend: Backend, keys: Sequence[str]) -> None:
            for key in keys:
                seen[key] = stored(backend, key, b"seen")

        def ask(backend: Backend, key: str, caller: int) -> bool:
            value = b"%d" % caller if caller % 2 else None
            return write(backend, key, value, if_version=seen[key]).written

        for key, answers, backend in self._raced(prepare, ask):
            assert sum(answers) == 1, f"{sum(answers)} of {len(answers)} writes of {key} at one instant took effect"
            winner = list(answers).index(True)
            found = read(backend, key)
            wanted = b"%d" % winner if winner % 2 else None
            assert (found and found.value) == wanted, f"caller {winner} wrote {wanted!r}, and {found} is stored"

    @holds("V2")
    def test_of_many_processes_one_writes(self) -> None:
        """Processes write the same keys at the same instant; each is written by one of them."""
        self.require_processes()
        answers = in_processes(
            self.service.url(self.service.namespace()), _write_each, _PROCESSES, prelude=self.service.prelude
        )
        for number, written in enumerate(zip(*answers, strict=True)):
            assert sum(written) == 1, f"{sum(written)} of {_PROCESSES} processes wrote the key {number}"

    @holds("V2")
    def test_no_write_is_lost(self) -> None:
        """Threads count by reading a number and writing the next one: each write that took effect has counted."""
        backends = self.several(2) * (_THREADS // 2)
        stored(backends[0], value=b"0")
        rounds = 4 * self.profile.races
        written = sum(together([partial(_count, each, rounds) for each in backends]))
        found = read(backends[0])
        assert found is not None
        assert int(found.value) == written, f"{written} writes took effect, and {int(found.value)} have counted"

    def _assert_one_writes(
        self, prepare: Callable[[Backend, Sequence[str]], None], seen: Callable[[str], int] = lambda _: 0
    ) -> None:
        def ask(backend: Backend, key: str, caller: int) -> bool:
            return write(backend, key, b"%d" % caller, if_version=seen(key)).written

        for key, answers, backend in self._raced(prepare, ask):
            assert sum(answers) == 1, (
                f"{sum(answers)} of {len(answers)} writes of {key} with the same if_version at one instant took effect"
            )
            found = read(backend, key)
            assert found is not None
            winner = list(answers).index(True)
            assert found.value == b"%d" % winner, f"caller {winner} has written, and {found.value!r} is stored"

    def _raced(
        self, prepare: Callable[[Backend, Sequence[str]], None], ask: Callable[[Backend, str, int], bool]
    ) -> Iterator[tuple[str, list[int], Backend]]:
        return raced(self.several(2), prepare, ask, seconds=_SECONDS_PER_RACE * self.profile.races)


def _write_each(backend: Backend, process: int, line_up: LineUp) -> list[bool]:
    answers = list[bool]()
    for number in range(_NAMES_OF_PROCESSES):
        line_up()
        answers.append(write(backend, f"k{number}", b"%d" % process, if_version=0).written)
    return answers


def _count(backend: Backend, rounds: int) -> int:
    """Add one to the number that is stored, as often as it succeeds; how often."""
    written = 0
    for _ in range(rounds):
        found = read(backend)
        assert found is not None
        written += write(backend, value=b"%d" % (int(found.value) + 1), if_version=found.version).written
    return written
