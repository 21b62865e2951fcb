"""Draws from rate limits, for all workers together: compare-and-set on one versioned value for each key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from attrs import frozen
from msgspec import Struct

from drivetrain.contract import Clock, ValueWrite, VersionedValue, VersionedValues
from drivetrain.worker.limits.gcra import reserve
from drivetrain.worker.limits.settings import Effective, effective_rate, setting_key
from drivetrain.worker.limits.specs import RateSetting
from drivetrain.worker.limits.store_clock import CLOCK_KEY, StoreTime, start_clock, store_time
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.value_codec import decode, encode

__all__ = ["RATE_PREFIX", "Draw", "Drawn", "RateDraws", "RateState"]

#: The keys of states begin with it; the key of the limit follows.
RATE_PREFIX = "limits/rates/"


@frozen
class Draw:
    """A call that draws from a rate limit.

    Attributes:
        name: the name of the limit.
        key: its key.
        declared: its numbers in the code.
        cost: how much of the limit the call uses, more than 0.
    """

    name: str
    key: str
    declared: RateSetting
    cost: float


@frozen
class Drawn:
    """What a call has drawn: the seconds to wait, 0 or more, and the generation of the limit's numbers."""

    wait_seconds: float
    generation: int


class RateState(Struct, frozen=True, kw_only=True):
    """The stored state of a rate limit.

    Attributes:
        name: the name of the limit.
        paid_at: see `drivetrain.worker.limits.gcra`; by the clock of the backend.
        clock: which clock that is.
        generation: see `Effective.generation`.
    """

    name: str
    paid_at: float
    clock: int
    generation: int = 0


class RateDraws:
    """Draws from rate limits in batches: one read and one write, whatever the number of calls and keys is.

    Another write follows only for keys from which another worker has drawn in between. Thread-safe.
    """

    def __init__(self, backend: Callable[[], VersionedValues], clock: Clock, retrier: Retrier) -> None:
        """Make it.

        Args:
            backend: gives the backend that stores the states.
            clock: measures the time between a read and a write.
            retrier: retries while the backend is unavailable.
        """
        self._backend = backend
        self._clock = clock
        self._retrier = retrier

    def generations(self, names: Iterable[str]) -> Mapping[str, int]:
        """The present generation of the numbers of limits; 0: those in the code.

        Raises:
            GaveUp: the worker stops while the backend is unavailable.
        """
        names = list(dict.fromkeys(names))
        keys = [setting_key(name) for name in names]
        stored = self._retrier.call("read limits", lambda: self._backend().read_values(keys))
        return {name: 0 if one is None else one.version for name, one in zip(names, stored, strict=True)}

    def draw(self, draws: Sequence[Draw]) -> list[Drawn]:
        """Draw for each call, in order; what each has drawn.

        A draw whose reply was lost is repeated. Then less than the limit is used, and never more.

        Raises:
            GaveUp: the worker stops while the backend is unavailable.
        """
        by_key = defaultdict[str, list[int]](list)
        for index, one in enumerate(draws):
            by_key[one.key].append(index)
        time, read_at, settings, states = self._read(draws, by_key)
        drawn: dict[int, Drawn] = {}
        while by_key:
            now = StoreTime(time.clock, time.seconds + self._clock.monotonic() - read_at)
            plans = {key: self._plan(draws, by_key[key], settings, states[key], now) for key in by_key}
            writes = [write for write, _ in plans.values()]
            outcomes = self._retrier.call("draw", partial(self._backend().write_values, writes))
            for (key, (_, results)), outcome in zip(plans.items(), outcomes, strict=True):
                if outcome.written:
                    drawn.update(zip(by_key.pop(key), results, strict=True))
                else:
                    states[key] = outcome.current
        return [drawn[index] for index in range(len(draws))]

    def _read(
        self, draws: Sequence[Draw], keys: Iterable[str]
    ) -> tuple[StoreTime, float, Mapping[str, VersionedValue | None], dict[str, VersionedValue | None]]:
        """The backend's time, when it was read, the stored changes by name, and the stored states by key."""
        names, keys = list(dict.fromkeys(one.name for one in draws)), list(keys)
        wanted = [CLOCK_KEY, *map(setting_key, names), *(RATE_PREFIX + key for key in keys)]
        stored = self._retrier.call("read limits", lambda: self._backend().read_values(wanted))
        read_at = self._clock.monotonic()
        time = store_time(stored[0])
        if time is None:
            time = self._retrier.call("start the clock of limits", lambda: start_clock(self._backend()))
            read_at = self._clock.monotonic()
        settings = dict(zip(names, stored[1:], strict=False))
        return time, read_at, settings, dict(zip(keys, stored[1 + len(names) :], strict=True))

    def _plan(
        self,
        draws: Sequence[Draw],
        indexes: Sequence[int],
        settings: Mapping[str, VersionedValue | None],
        stored: VersionedValue | None,
        now: StoreTime,
    ) -> tuple[ValueWrite, list[Drawn]]:
        """The write that draws for some calls of one key, and what they draw if it takes effect."""
        first = draws[indexes[0]]
        effective = effective_rate(first.declared, settings[first.name])
        costs = [draws[index].cost for index in indexes]
        paid_at, waits = reserve(_paid_at(stored, effective, now), effective.setting, costs, now.seconds)
        state = RateState(name=first.name, paid_at=paid_at, clock=now.clock, generation=effective.generation)
        write = ValueWrite(
            key=RATE_PREFIX + first.key,
            value=encode(state),
            if_version=0 if stored is None else stored.version,
            # Then the limit is unused, which is what a missing state says. A period more, for clocks that resolve less.
            expires_in_seconds=paid_at - now.seconds + max(1.0, effective.setting.per),
        )
        return write, [Drawn(wait, effective.generation) for wait in waits]


def _paid_at(stored: VersionedValue | None, effective: Effective, now: StoreTime) -> float:
    """The state of a limit; the present where nothing that counts was drawn."""
    if stored is None:
        return now.seconds
    try:
        state = decode(stored.value, RateState)
    except ValueError:
        return now.seconds
    counts = state.clock == now.clock and state.generation == effective.generation
    return state.paid_at if counts else now.seconds
