"""The checks of locks, which core builds on a backend's versioned values (clauses L…)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from drivetrain.app.locks import Lock
from drivetrain.contract import Backend, Durability, SystemClock
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import HOSTILE_NAMES
from drivetrain_contract_tests.backends.clocks import skewed_pairs
from drivetrain_contract_tests.backends.concurrency import Background, together
from drivetrain_contract_tests.backends.races import nothing_prepared, raced
from drivetrain_contract_tests.backends.restarts import stopped, works
from drivetrain_contract_tests.backends.timing import EXACT_SECONDS, LONG_TIMES, Timed, assert_ends, eventually, timed
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["LockContract"]

_THREADS = 4
#: How long one race lasts for each of the profile's races, in seconds.
_SECONDS_PER_RACE = 0.03
#: As many that two of them meet where names are hashed to 16 bits.
_NAMES = 800
#: How long locks last whose end is awaited, in seconds.
_TIMES = (SHORT, EXACT_SECONDS)
#: A lock that is to have ended soon lasts as long, in seconds.
_SHORTEST = 0.01


class LockContract(BackendBase):
    """The contract of locks on a backend. Needs a fixture ``backend_service`` that gives a `Service`."""

    @holds("L1")
    def test_a_lock_has_one_holder(self) -> None:
        """While somebody holds it nobody takes it, not even by the object that it was taken by."""
        one, other = self.several(2)
        _taken(one)
        assert [_lock(each).acquire() for each in (other, one, other)] == [False] * 3

    @holds("L1")
    def test_of_many_callers_one_gets_it(self) -> None:
        """However many threads ask at the same instant, one gets the lock."""
        backends = self.several(_THREADS)
        for number in range(self.profile.races):
            holders = sum(together([_lock(each, f"l{number}").acquire for each in backends]))
            assert holders == 1, f"{holders} hold one lock"

    @holds("L1", "L3", "L5")
    def test_of_many_that_wait_for_its_end_one_gets_it(self) -> None:
        """When a lock has ended, one of the callers that ask for it gets it, with a larger token."""
        backends = self.several(_THREADS)
        former = _taken(backends[0], seconds=SHORT)
        first = _token(former)
        end = time.monotonic() + SHORT + self.resolution + self.patience_seconds
        got = threading.Event()
        tokens = [token for token in together([partial(_insist, each, end, got) for each in backends]) if token]
        assert len(tokens) == 1, f"{len(tokens)} hold one lock"
        assert tokens[0] > first
        assert not former.renew()

    @holds("L1")
    def test_of_many_callers_one_gets_a_new_lock(self) -> None:
        """Threads of two objects ask for one name after the other at the same instant, for a time."""
        self._assert_one_gets_each(nothing_prepared)

    @holds("L1")
    def test_of_many_callers_one_gets_an_ended_lock(self) -> None:
        """Each lock was held before, and its time is over when several ask for it at the same instant."""

        def end(backend: Backend, names: Sequence[str]) -> None:
            for name in names:
                _taken(backend, name, _SHORTEST)
            # Nobody asks meanwhile: a driver may drop a lock that has ended when somebody looks at it.
            threading.Event().wait(_SHORTEST + self.resolution + _SHORTEST)

        self._assert_one_gets_each(end)

    def _assert_one_gets_each(self, prepare: Callable[[Backend, Sequence[str]], None]) -> None:
        def ask(backend: Backend, name: str, _: int) -> bool:
            return _lock(backend, name).acquire()

        seconds = _SECONDS_PER_RACE * self.profile.races
        for name, answers, _ in raced(self.several(2), prepare, ask, seconds=seconds):
            assert sum(answers) == 1, (
                f"{sum(answers)} of {len(answers)} callers that asked at one instant hold the lock {name}"
            )

    @holds("L1", "L5")
    def test_no_token_is_given_twice(self) -> None:
        """Threads take one lock and release it, again and again: each holder's token is new, and larger for each."""
        backends = self.several(2) * (_THREADS // 2)
        until = time.monotonic() + 3 * _SECONDS_PER_RACE * self.profile.races
        by_thread = together([partial(_take_and_release, each, until) for each in backends])
        tokens = [token for mine in by_thread for token in mine]
        assert len(tokens) == len(set(tokens)), f"{len(tokens) - len(set(tokens))} of {len(tokens)} tokens came twice"
        assert all(list(mine) == sorted(mine) for mine in by_thread), "a later holder has a smaller token"

    @holds("L2", "L3")
    def test_a_lock_ends_by_itself(self) -> None:
        """When its time is over somebody else may take it: not before, and soon after. So it is with a renewal.

        A lock without an end stays for ever when its holder dies.
        """
        one, other = self.several(2)
        since = list[tuple[str, float, Timed[Any]]]()
        for seconds in _TIMES:
            name = f"taken for {seconds}"
            since.append((name, seconds, timed(_taken, one, name, seconds)))
        for seconds in _TIMES:
            lock = _taken(one, f"renewed for {seconds}", seconds)
            since.append((lock.name, seconds, timed(lock.renew)))
        ends = [
            Background(assert_ends, partial(_refused, other, name), asked, seconds, self.resolution)
            for name, seconds, asked in since
        ]
        for each in ends:
            each.result()

    @holds("L2", "L3")
    def test_a_long_time_is_not_cut_short(self) -> None:
        """Times beyond what a service's units hold are kept all the same."""
        backend = self.fresh()
        for seconds in (31 * 86_400.0, *LONG_TIMES):
            lock = _taken(backend, f"l{seconds}", seconds)
            assert _refused(backend, f"l{seconds}"), f"a lock for {seconds} s is over already"
            assert lock.renew()
            assert _refused(backend, f"l{seconds}"), f"a lock that was renewed for {seconds} s is over already"

    @holds("L2", "L3")
    def test_a_lock_is_counted_by_the_clock_of_the_service(self) -> None:
        """A client whose clock is hours ahead or behind takes nobody's lock, and its own lasts as long."""
        for right, wrong in skewed_pairs(self):
            for holder, other in ((right, wrong), (wrong, right)):
                name = f"of {'right' if holder is right else 'wrong'}"
                lock = _taken(holder, name)
                assert _refused(other, name), "clocks that differ have ended a lock"
                assert lock.renew()
                assert _refused(other, name), "clocks that differ have ended a renewed lock"
                assert lock.release()
                _taken(other, name)

    @holds("L2", "L3", "L4")
    def test_an_ended_lock_is_not_its_former_holders(self) -> None:
        """A holder that comes back after its lock has ended is refused, even if nobody else has taken it."""
        backend = self.fresh()
        renews, releases = (_taken(backend, name, SHORT) for name in ("renews", "releases"))
        taken = timed(_taken, backend, "witness", SHORT)
        assert_ends(partial(_refused, backend, "witness"), taken, SHORT, self.resolution)
        threading.Event().wait(self.resolution)  # the others may be later than the witness
        assert not renews.renew()
        assert not releases.release()

    @holds("L3")
    def test_a_renewed_lock_is_held_on(self) -> None:
        """A lock that was renewed in time outlives its first end, with the same token, and ends when the renewal does.

        The renewal counts from its call, and not from the first end.
        """
        one, other = self.several(2)
        lock = _taken(one, "l", 2 * SHORT)
        token = _token(lock)
        threading.Event().wait(SHORT)
        renewed = timed(lock.renew)
        assert renewed.answer
        assert_ends(partial(_refused, other, "l"), renewed, 2 * SHORT, self.resolution)
        assert token == lock.token

    @holds("L3")
    def test_only_its_holder_renews_it(self) -> None:
        """Callers that do not hold the lock are refused, and its end stays where it was."""
        one, other = self.several(2)
        former, stranger = _taken(one), _lock(one, seconds=LONG)
        assert former.release()
        taken = timed(_taken, other, "l", SHORT)
        for foreign in (former, stranger, _lock(one, "unknown")):
            assert not foreign.renew()
        assert_ends(partial(_refused, one, "l"), taken, SHORT, self.resolution)
        _taken(one, "unknown")

    @holds("L1", "L3", "L4")
    def test_a_holder_whose_lock_was_taken_over_is_refused(self) -> None:
        """It takes nothing, renews nothing and releases nothing, and the later holder goes on."""
        one, other = self.several(2)
        names = ("takes", "renews", "releases")
        takes, renews, releases = (_taken(one, name, SHORT) for name in names)
        later = list[Lock]()
        longest = SHORT + self.resolution + self.patience_seconds
        for name in names:
            eventually(lambda: not _refused(other, name, later), "taken over", longest)  # noqa: B023
        assert not takes.acquire(), "a former holder takes a lock that another one holds"
        assert not renews.renew()
        assert not releases.release()
        for lock in later:
            assert lock.renew(), "a former holder has ended the lock of a later one"

    @holds("L4")
    def test_a_released_lock_may_be_taken_at_once(self) -> None:
        """Its holder releases it once; then another one may hold it."""
        one, other = self.several(2)
        lock = _taken(one)
        assert lock.release() is True
        assert lock.release() is False
        assert lock.renew() is False
        _taken(other)

    @holds("L4")
    def test_only_its_holder_releases_it(self) -> None:
        """A former holder that comes back, or a stranger, does not take the lock from its holder."""
        one, other = self.several(2)
        former = _taken(one)
        former.release()
        holder = _taken(other)
        assert [foreign.release() for foreign in (former, _lock(one), _lock(other))] == [False] * 3
        assert _refused(one, "l")
        assert holder.renew()

    @holds("L5")
    def test_tokens_grow(self) -> None:
        """Every holder's token is larger than those before: after releases, ends, sweeps, and objects that are gone.

        A service that the lock protects refuses smaller tokens than it has seen.
        """
        namespace = self.service.namespace()
        tokens = []
        for number in range(6):
            backend = self.on(namespace)
            lock = _taken(backend, "l", LONG if number % 2 else SHORT)
            tokens.append(_token(lock))
            if number % 2:
                assert lock.renew()
                assert lock.release()
            else:
                eventually(partial(_free, backend), "the lock ends", SHORT + self.resolution + self.patience_seconds)
            backend.sweep()
            backend.forget(["l"])
        assert all(earlier < later for earlier, later in pairwise(tokens)), f"the tokens were {tokens}"

    @holds("L5", restarts=True)
    def test_tokens_grow_across_a_restart(self) -> None:
        """A holder from before a restart has a smaller token than one after it."""
        if self.declared().durability in (Durability.NONE, Durability.CACHE):
            raise NotDeclared("not declared: durability")
        backend = self.fresh()
        tokens = []
        for _ in range(3):
            lock = _taken(backend)
            tokens.append(_token(lock))
            lock.release()
        with stopped(self.service):
            pass
        eventually(partial(works, backend), "the object works again", self.patience_seconds)
        assert _token(_taken(backend)) > max(tokens)

    @holds("L6")
    def test_names_do_not_meet(self) -> None:
        """Each name has its own holder, token and end, also names that look alike."""
        backend = self.fresh()
        locks = {name: _taken(backend, name) for name in HOSTILE_NAMES}
        for name, lock in locks.items():
            assert _refused(backend, name)
            assert lock.release()
            _taken(backend, name)

    @holds("L6")
    def test_many_names_do_not_meet(self) -> None:
        """Hundreds of names have each a lock of their own: names that are hashed to 16 bits meet."""
        backend, names = self.fresh(), random.Random(0)
        for number in range(_NAMES):
            name = names.randbytes(8).hex()
            assert _lock(backend, name).acquire(), f"one of {number} other names is taken for {name!r}"

    @holds("L6")
    def test_locks_of_different_names_are_independent(self) -> None:
        """To renew or to release one lock changes no other."""
        one, other = self.several(2)
        locks = {name: _taken(one, name) for name in ("a", "b", "c")}
        assert locks["a"].release()
        assert locks["b"].renew()
        assert [_refused(other, name) for name in locks] == [False, True, True]
        assert locks["c"].release()
        assert [lock.renew() for lock in locks.values()] == [False, True, False]

    @holds("L1", "L3", "L4", "L5", "L6")
    def test_every_sequence_of_calls_goes_as_the_model_says(self) -> None:
        """Whatever is taken, renewed and released in whatever order: one holder, and tokens that grow."""
        machine = cast("type[_Calls]", lambda: _Calls(self.several(2)))  # a factory will do
        run_state_machine_as_test(machine, settings=self.profile.settings())


_names = st.sampled_from(["a", "b"])
_which = st.integers(0, 2)


class _Calls(RuleBasedStateMachine):
    """Three callers by two objects on one namespace, and the holder of each lock."""

    def __init__(self, backends: list[Backend]) -> None:
        super().__init__()
        self.backends = backends
        self.locks = {name: [_lock(backends[which % 2], name) for which in range(3)] for name in ("a", "b")}
        self.holders: dict[str, int] = {}
        self.tokens: dict[str, list[int]] = {"a": [], "b": []}

    @initialize()
    def begin(self) -> None:
        for name in self.tokens:
            self.take(name, 0)

    @rule(name=_names, which=_which)
    def take(self, name: str, which: int) -> None:
        lock = self.locks[name][which]
        is_new = name not in self.holders
        assert lock.acquire() is (self.holders.setdefault(name, which) == which)
        if is_new:
            token = _token(lock)
            assert token > max(self.tokens[name], default=0)
            self.tokens[name].append(token)

    @rule(name=_names, which=_which)
    def renew(self, name: str, which: int) -> None:
        lock = self.locks[name][which]
        assert lock.renew() is (self.holders.get(name) == which)
        assert lock.token == (self.tokens[name][-1] if self.holders.get(name) == which else None)

    @rule(name=_names, which=_which)
    def release(self, name: str, which: int) -> None:
        held = self.holders.get(name) == which
        assert self.locks[name][which].release() is held
        if held:
            del self.holders[name]

    def teardown(self) -> None:
        for backend in self.backends:
            backend.close()


def _lock(backend: Backend, name: str = "l", seconds: float = LONG) -> Lock:
    return Lock(lambda: backend, SystemClock(), name, seconds=seconds, wait_seconds=0.0)


def _taken(backend: Backend, name: str = "l", seconds: float = LONG) -> Lock:
    lock = _lock(backend, name, seconds)
    assert lock.acquire(), f"nobody holds the lock {name!r}, and it was refused"
    return lock


def _token(lock: Lock) -> int:
    assert lock.token is not None
    return lock.token


def _free(backend: Backend) -> bool:
    return backend.counts()["values"] == 0


def _take_and_release(backend: Backend, until: float) -> list[int]:
    tokens = []
    while time.monotonic() < until:
        lock = _lock(backend)
        if lock.acquire():
            tokens.append(_token(lock))
            assert lock.release(), "a holder was refused to release its lock"
    return tokens


def _refused(backend: Backend, name: str, taken: list[Lock] | None = None) -> bool:
    """Whether somebody else is refused the lock; if not, it is added to ``taken``."""
    lock = _lock(backend, name)
    if lock.acquire():
        if taken is not None:
            taken.append(lock)
        return False
    return True


def _insist(backend: Backend, end: float, got: threading.Event) -> int | None:
    """Ask again and again until the lock is ours, or until a moment after somebody else `got` it, or ``end``."""
    while time.monotonic() < end:
        lock = _lock(backend)
        if lock.acquire():
            got.set()
            return lock.token
        if got.is_set():
            end = min(end, time.monotonic() + SHORT)
            got = threading.Event()
        time.sleep(0.001)
    return None
