"""The checks of locks (clauses L…)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from drivetrain.contract import Backend, Durability
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import HOSTILE_NAMES
from drivetrain_contract_tests.backends.clocks import skewed_pairs
from drivetrain_contract_tests.backends.concurrency import Background, LineUp, in_processes, together
from drivetrain_contract_tests.backends.races import nothing_prepared, raced
from drivetrain_contract_tests.backends.restarts import stopped, works
from drivetrain_contract_tests.backends.timing import EXACT_SECONDS, LONG_TIMES, assert_ends, eventually, timed
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["LockContract"]

_THREADS = 4
#: How long one race lasts for each of the profile's races, in seconds.
_SECONDS_PER_RACE = 0.03
#: As many that two of them meet where names are hashed to 16 bits.
_NAMES = 800
#: A lock that is to have ended soon lasts as long, in seconds.
_SHORTEST = 0.01


class LockContract(BackendBase):
    """The contract of a backend's locks. Needs a fixture ``backend_service`` that gives a `Service`."""

    @holds("L1")
    def test_a_lock_has_one_holder(self) -> None:
        """While somebody holds it nobody takes it, not even its holder again."""
        one, other = self.several(2)
        assert one.acquire_lock("l", seconds=LONG) is not None
        assert [each.acquire_lock("l", seconds=LONG) for each in (other, one, other)] == [None] * 3

    @holds("L1")
    def test_of_many_callers_one_gets_it(self) -> None:
        """However many threads ask at the same instant, one gets the lock."""
        backends = self.several(_THREADS)
        for number in range(self.profile.races):
            calls = [partial(each.acquire_lock, f"l{number}", seconds=LONG) for each in backends]
            holders = [token for token in together(calls) if token is not None]
            assert len(holders) == 1, f"{len(holders)} hold one lock"

    @holds("L1", "L3", "L5")
    def test_of_many_that_wait_for_its_end_one_gets_it(self) -> None:
        """When a lock has ended, one of the callers that ask for it gets it, with a larger token."""
        backends = self.several(_THREADS)
        first = _taken(backends[0], seconds=SHORT)
        end = time.monotonic() + SHORT + self.resolution + self.patience_seconds
        got = threading.Event()
        told = together([partial(_insist, each, end, got) for each in backends])
        tokens = [token for token in told if token is not None]
        assert len(tokens) == 1, f"{len(tokens)} hold one lock"
        assert tokens[0] > first
        assert not backends[0].renew_lock("l", first, seconds=LONG)

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
            return backend.acquire_lock(name, seconds=LONG) is not None

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
        told = together([partial(_take_and_release, each, until) for each in backends])
        tokens = [token for mine in told for token in mine]
        assert len(tokens) == len(set(tokens)), f"{len(tokens) - len(set(tokens))} of {len(tokens)} tokens came twice"
        assert all(list(mine) == sorted(mine) for mine in told), "a later holder has a smaller token"

    @holds("L1")
    def test_of_many_processes_one_gets_it(self) -> None:
        """However many processes ask, one gets the lock."""
        self.require_processes()
        answers = in_processes(self.service.url(self.service.namespace()), _take_all, 3)
        for told in zip(*answers, strict=True):
            assert sum(token is not None for token in told) == 1, f"the tokens of one lock are {told}"

    @holds("L2")
    def test_a_lock_ends_by_itself(self) -> None:
        """When its time is over somebody else may take it: not before, and soon after.

        A lock without an end stays for ever when its holder dies.
        """
        one, other = self.several(2)
        for seconds in (SHORT, 3 * SHORT):
            name = f"l{seconds}"
            taken = timed(_taken, one, name, seconds)
            assert_ends(partial(_refused, other, name), taken, seconds, self.resolution)

    @holds("L2", "L3")
    def test_a_long_time_is_not_cut_short(self) -> None:
        """Times beyond what a service's units hold are kept all the same."""
        backend = self.fresh()
        for seconds in (31 * 86_400.0, *LONG_TIMES):
            token = _taken(backend, f"l{seconds}", seconds)
            assert backend.acquire_lock(f"l{seconds}", seconds=1.0) is None, f"a lock for {seconds} s is over already"
            assert backend.renew_lock(f"l{seconds}", token, seconds=seconds)
            told = backend.acquire_lock(f"l{seconds}", seconds=1.0)
            assert told is None, f"a lock that was renewed for {seconds} s is over already"

    @holds("L2", "L3")
    def test_a_lock_is_held_as_long_as_was_said(self) -> None:
        """A lock of seconds is not a share of it shorter; nor is its renewal."""
        one, other = self.several(2)
        taken = timed(_taken, one, "taken", EXACT_SECONDS)
        token = _taken(one, "renewed", LONG)
        again = timed(one.renew_lock, "renewed", token, seconds=EXACT_SECONDS)
        ends = [
            Background(assert_ends, partial(_refused, by, name), since, EXACT_SECONDS, self.resolution)
            for name, by, since in (("taken", one, taken), ("renewed", other, again))
        ]
        for each in ends:
            each.result()

    @holds("L2", "L3")
    def test_a_lock_is_counted_by_the_clock_of_the_service(self) -> None:
        """A client whose clock is hours ahead or behind takes nobody's lock, and its own lasts as long."""
        for right, wrong in skewed_pairs(self):
            for holder, other in ((right, wrong), (wrong, right)):
                name = f"of {'right' if holder is right else 'wrong'}"
                token = _taken(holder, name)
                assert _refused(other, name), "clocks that differ have ended a lock"
                assert holder.renew_lock(name, token, seconds=LONG)
                assert _refused(other, name), "clocks that differ have ended a renewed lock"
                assert holder.release_lock(name, token)
                _taken(other, name)

    @holds("L2", "L4")
    def test_an_ended_lock_is_not_its_former_holders(self) -> None:
        """A holder that comes back after its lock has ended is refused, even if nobody else has taken it."""
        backend = self.fresh()
        token = _taken(backend, "l", SHORT)
        taken = timed(_taken, backend, "witness", SHORT)
        assert_ends(partial(_refused, backend, "witness"), taken, SHORT, self.resolution)
        eventually(lambda: not backend.renew_lock("l", token, seconds=SHORT), "refused", 2 * self.resolution)
        assert not backend.release_lock("l", token)

    @holds("L3")
    def test_a_renewed_lock_is_held_on(self) -> None:
        """A lock that was renewed in time outlives its first end, and ends when the renewal does."""
        one, other = self.several(2)
        token = _taken(one, "l", 2 * SHORT)
        assert one.renew_lock("l", token, seconds=LONG)
        taken = timed(_taken, one, "witness", 2 * SHORT)
        assert_ends(partial(_refused, other, "witness"), taken, 2 * SHORT, self.resolution)
        assert other.acquire_lock("l", seconds=LONG) is None
        again = timed(one.renew_lock, "l", token, seconds=SHORT)
        assert again.answer
        assert_ends(partial(_refused, other, "l"), again, SHORT, self.resolution)

    @holds("L3")
    def test_only_its_holder_renews_it(self) -> None:
        """Callers that do not hold the lock are refused, and its end stays where it was."""
        one, other = self.several(2)
        stale = _taken(one)
        assert one.release_lock("l", stale)
        taken = timed(_taken, other, "l", SHORT)
        for foreign in (stale, taken.answer + 1, 0, -1):
            assert not one.renew_lock("l", foreign, seconds=LONG)
        assert not one.renew_lock("unknown", taken.answer, seconds=LONG)
        assert_ends(partial(_refused, one, "l"), taken, SHORT, self.resolution)
        assert one.acquire_lock("unknown", seconds=LONG) is not None

    @holds("L4")
    def test_a_released_lock_may_be_taken_at_once(self) -> None:
        """Its holder lets it go once; then it is somebody else's."""
        one, other = self.several(2)
        token = _taken(one)
        assert one.release_lock("l", token) is True
        assert one.release_lock("l", token) is False
        assert one.renew_lock("l", token, seconds=LONG) is False
        assert other.acquire_lock("l", seconds=LONG) is not None

    @holds("L4")
    def test_only_its_holder_releases_it(self) -> None:
        """A former holder that comes back, or a stranger, does not take the lock from its holder."""
        one, other = self.several(2)
        stale = _taken(one)
        one.release_lock("l", stale)
        token = _taken(other)
        assert [one.release_lock("l", foreign) for foreign in (stale, token + 1, 0, -1)] == [False] * 4
        assert one.acquire_lock("l", seconds=LONG) is None
        assert other.renew_lock("l", token, seconds=LONG)

    @holds("L5")
    def test_tokens_grow(self) -> None:
        """Every holder's token is larger than those before: after releases, ends, sweeps, and objects that are gone.

        A service that the lock protects refuses smaller tokens than it has seen.
        """
        namespace = self.service.namespace()
        tokens = []
        for number in range(6):
            backend = self.on(namespace)
            tokens.append(_taken(backend, "l", LONG if number % 2 else SHORT))
            if number % 2:
                backend.release_lock("l", tokens[-1])
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
            tokens += [_taken(backend)]
            backend.release_lock("l", tokens[-1])
        with stopped(self.service):
            pass
        eventually(partial(works, backend), "the object works again", self.patience_seconds)
        assert _taken(backend) > max(tokens)

    @holds("L6")
    def test_names_do_not_meet(self) -> None:
        """Each name has its own holder, token and end, also names that look alike."""
        backend = self.fresh()
        tokens = {name: _taken(backend, name) for name in HOSTILE_NAMES}
        for name, token in tokens.items():
            assert backend.acquire_lock(name, seconds=LONG) is None
            assert backend.release_lock(name, token)
            assert backend.acquire_lock(name, seconds=LONG) is not None

    @holds("L6")
    def test_many_names_do_not_meet(self) -> None:
        """Hundreds of names have each a lock of their own: names that are hashed to 16 bits meet."""
        backend, names = self.fresh(), random.Random(0)
        for number in range(_NAMES):
            name = names.randbytes(8).hex()
            token = backend.acquire_lock(name, seconds=LONG)
            assert token is not None, f"one of {number} other names is taken for {name!r}"

    @holds("L6")
    def test_a_token_is_of_its_name(self) -> None:
        """The holder of one lock neither renews nor releases another."""
        backend = self.fresh()
        one, other = _taken(backend, "a"), _taken(backend, "b")
        if one != other:  # tokens may be counted for each name
            assert not backend.release_lock("a", other)
            assert not backend.renew_lock("b", one, seconds=LONG)
        assert not backend.release_lock("c", one)
        assert backend.release_lock("a", one)
        assert backend.renew_lock("b", other, seconds=LONG)

    @holds("L1", "L3", "L4", "L5", "L6")
    def test_every_sequence_of_calls_goes_as_the_model_says(self) -> None:
        """Whatever is taken, renewed and released in whatever order: one holder, and tokens that grow."""
        machine = cast("type[_Calls]", lambda: _Calls(self.several(2)))  # a factory will do
        run_state_machine_as_test(machine, settings=self.profile.settings())


_names = st.sampled_from(["a", "b"])
_which = st.integers(0, 1)


class _Calls(RuleBasedStateMachine):
    """Two objects on one namespace, and the holder of each lock."""

    def __init__(self, backends: list[Backend]) -> None:
        super().__init__()
        self.backends = backends
        self.holders: dict[str, int] = {}
        self.tokens: dict[str, list[int]] = {"a": [], "b": []}

    @initialize()
    def begin(self) -> None:
        for name in self.tokens:
            self.take(name, 0)

    @rule(name=_names, which=_which)
    def take(self, name: str, which: int) -> None:
        token = self.backends[which].acquire_lock(name, seconds=LONG)
        assert (token is None) == (name in self.holders)
        if token is not None:
            assert token > max(self.tokens[name], default=0)
            self.tokens[name].append(token)
            self.holders[name] = token

    @rule(name=_names, which=_which, past=st.integers(0, 3))
    def renew(self, name: str, which: int, past: int) -> None:
        token = self.token(name, past)
        assert self.backends[which].renew_lock(name, token, seconds=LONG) is (self.holders.get(name) == token)

    @rule(name=_names, which=_which, past=st.integers(0, 3))
    def release(self, name: str, which: int, past: int) -> None:
        token = self.token(name, past)
        held = self.holders.get(name) == token
        assert self.backends[which].release_lock(name, token) is held
        if held:
            del self.holders[name]

    def token(self, name: str, past: int) -> int:
        """The token of the last holder but ``past``."""
        return self.tokens[name][::-1][min(past, len(self.tokens[name]) - 1)]

    def teardown(self) -> None:
        for backend in self.backends:
            backend.close()


def _taken(backend: Backend, name: str = "l", seconds: float = LONG) -> int:
    token = backend.acquire_lock(name, seconds=seconds)
    assert token is not None, f"nobody holds the lock {name!r}, and it was refused"
    return token


def _free(backend: Backend) -> bool:
    return backend.counts()["locks"] == 0


def _take_and_release(backend: Backend, until: float) -> list[int]:
    tokens = []
    while time.monotonic() < until:
        token = backend.acquire_lock("l", seconds=LONG)
        if token is not None:
            tokens.append(token)
            assert backend.release_lock("l", token), "a holder was refused to release its lock"
    return tokens


def _refused(backend: Backend, name: str) -> bool:
    return backend.acquire_lock(name, seconds=LONG) is None


def _insist(backend: Backend, end: float, got: threading.Event) -> int | None:
    """Ask again and again until the lock is ours, or until a moment after somebody else `got` it, or ``end``."""
    while time.monotonic() < end:
        if (token := backend.acquire_lock("l", seconds=LONG)) is not None:
            got.set()
            return token
        if got.is_set():
            end = min(end, time.monotonic() + SHORT)
            got = threading.Event()
        time.sleep(0.001)
    return None


def _take_all(backend: Backend, _: int, __: LineUp) -> list[int | None]:
    return [backend.acquire_lock(f"l{index}", seconds=LONG) for index in range(20)]
