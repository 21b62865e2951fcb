"""Versions, which never come again (V3)."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise

from drivetrain.contract import LARGEST_VERSION, Backend
from drivetrain_contract_tests.backends.base import BackendBase
from drivetrain_contract_tests.backends.clocks import skewed_pairs
from drivetrain_contract_tests.backends.concurrency import together
from drivetrain_contract_tests.backends.timing import eventually
from drivetrain_contract_tests.backends.value_calls import SOON, listed, outcomes, put, read, remove, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["VersionChecks"]

_THREADS = 4
#: How long threads write for each of the profile's races, in seconds.
_SECONDS_PER_RACE = 0.03


class VersionChecks(BackendBase):
    """Every write of a key gives it a larger version than it ever had."""

    @holds("V3")
    def test_versions_grow(self) -> None:
        """After writes, removals, expiries, sweeps, in batches, and by objects that are gone.

        A service that a value protects refuses smaller versions than it has seen.
        """
        namespace = self.service.namespace()
        versions = list[int]()
        for number in range(6):
            backend = self.on(namespace)
            versions.append(stored(backend, value=b"%d" % number))
            batch = outcomes(backend, put("other"), put(), put("another"), put(), remove("other"))
            versions += [outcome.current.version for outcome in batch[1:4:2] if outcome.current is not None]
            if number % 3 == 0:
                write(backend, value=None)
            elif number % 3 == 1:
                versions.append(stored(backend, seconds=SOON))
                longest = SOON + self.resolution + self.patience_seconds
                eventually(lambda: read(backend) is None, "the value ends", longest)  # noqa: B023
            backend.sweep()
            backend.forget(["k"])
            backend.drop_bodies(["k"])
        _assert_grow(versions)

    @holds("V3")
    def test_versions_grow_where_nothing_else_is_stored(self) -> None:
        """A removal, an expiry or a sweep of the last value of a namespace begins no new count."""
        one, other = self.several(2)
        versions = list[int]()
        for number in range(4):
            versions += [stored(one, if_version=0), stored(other)]
            write(one if number % 2 else other, value=None, if_version=versions[-1])
            one.sweep()
        _assert_grow(versions)

    @holds("V3")
    def test_a_version_is_a_number_that_every_service_can_keep(self) -> None:
        """It is a whole number from 1 to 2^53 - 1, the same in each answer."""
        backend = self.fresh()
        for key in ("a", "b", "a"):
            version = stored(backend, key)
            assert type(version) is int, f"a version is a {type(version)}, and should be an int"
            assert 1 <= version <= LARGEST_VERSION, f"the version of a value is {version}"
            found = read(backend, key)
            assert found is not None
            assert found.version == version
            ((_, value),) = listed(backend, key)
            assert value.version == version

    @holds("V3")
    def test_versions_grow_whatever_the_clocks_of_clients_say(self) -> None:
        """A client whose clock is behind gives larger versions than one whose clock is ahead has given before."""
        for right, wrong in skewed_pairs(self):
            versions = list[int]()
            for number in range(4):
                backend = wrong if number % 2 else right
                versions += [stored(backend, if_version=0), stored(backend)]
                write(backend, value=None)
            _assert_grow(versions)

    @holds("V3")
    def test_no_version_is_given_twice(self) -> None:
        """Threads write one key and remove it, again and again: each write has a version of its own."""
        backends = self.several(2) * (_THREADS // 2)
        until = time.monotonic() + _SECONDS_PER_RACE * self.profile.races
        by_thread = together([partial(_write_and_remove, each, until) for each in backends])
        versions = [version for mine in by_thread for version in mine]
        twice = len(versions) - len(set(versions))
        assert twice == 0, f"{twice} of {len(versions)} versions of one key were given twice"
        for mine in by_thread:
            _assert_grow(mine)


def _write_and_remove(backend: Backend, until: float) -> list[int]:
    versions = list[int]()
    while time.monotonic() < until or not versions:
        versions.append(stored(backend))
        write(backend, value=None, if_version=versions[-1])
    return versions


def _assert_grow(versions: list[int]) -> None:
    assert all(earlier < later for earlier, later in pairwise(versions)), f"the versions of one key were {versions}"
