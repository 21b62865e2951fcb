"""The limits of an app's tasks: read, and changed while workers run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice

from attrs import field, frozen

from drivetrain.app.services import Services
from drivetrain.contract import Backend, ConfigurationError, InvalidSignature, NotSupported, State, ValueWrite
from drivetrain.worker.limits.claims import CLAIM_PREFIX, decode_claim, is_over, split_claim_key
from drivetrain.worker.limits.durations import Duration, positive, seconds
from drivetrain.worker.limits.line import Places
from drivetrain.worker.limits.places import PLACE_PREFIX
from drivetrain.worker.limits.rates import RATE_PREFIX, RateState
from drivetrain.worker.limits.settings import SETTING_PREFIX, LimitChange, setting_key, stored_change
from drivetrain.worker.limits.specs import Concurrency, Rate
from drivetrain.worker.limits.store_clock import CLOCK_KEY, store_time
from drivetrain.worker.value_codec import decode, encode
from drivetrain.worker.value_listing import values_under

__all__ = ["LimitStatus", "Limits", "PlaceHolder", "UniqueHolder"]


@frozen(kw_only=True)
class LimitStatus:
    """A limit, and how much of it is in use.

    Attributes:
        name: its name, as in the code.
        tasks: the names of the tasks that it limits; empty: this app has none of them.
        declared: the limit in the code; None: this app has none of its tasks.
        change: what an operator has set; None: nothing.
        reserved_seconds: of a rate, for each key in use: for how many seconds from now starts are reserved.
        holding: of a concurrency limit, for each key in use: how many tasks hold a place. Some may have ended without
            giving it up, since their worker has died.
        waiting: of a concurrency limit, for each key in use: how many tasks wait for a place.
    """

    name: str
    tasks: Sequence[str] = ()
    declared: Rate | Concurrency | None = None
    change: LimitChange | None = None
    reserved_seconds: Mapping[str, float] = field(factory=dict)
    holding: Mapping[str, int] = field(factory=dict)
    waiting: Mapping[str, int] = field(factory=dict)


@frozen(kw_only=True)
class PlaceHolder:
    """A task that holds a place of a concurrency limit.

    Attributes:
        name: the name of the limit.
        key: its key.
        task_id: the id of the task.
        task: the name of the task; empty: unknown.
        state: the state of the task; None: it has no record.
        worker: the worker that runs it; empty: none does.
        seconds: for how long it has held the place, in seconds.
        woken: whether it waited in the line, and has not come yet since it was woken.
    """

    name: str
    key: str
    task_id: str
    task: str
    state: State | None
    worker: str
    seconds: float
    woken: bool


@frozen(kw_only=True)
class UniqueHolder:
    """A task that holds a unique key.

    Attributes:
        task: the name of the task.
        key: the key; for tasks whose key is all arguments, a hash of them.
        task_id: the id of the task that holds it.
        since: when it was sent, in Unix seconds.
        until: until when it holds the key: ``started``, ``finished``, or ``time``.
        seconds: for ``time``: how long it holds the key from now, in seconds.
        state: the state of the task; None: it has no record.
    """

    task: str
    key: str
    task_id: str
    since: float
    until: str
    seconds: float | None
    state: State | None


class Limits:
    """The limits of the tasks of an app. Thread-safe.

    All methods raise `NotSupported` if the backend stores nothing, and `ServiceError` if it could not be reached.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def list(self) -> Sequence[LimitStatus]:
        """The limits of the registered tasks, and other limits that are in use, by name."""
        backend = self._backend
        declared, tasks = self._declared()
        changes = {name: stored_change(stored) for name, stored in values_under(backend, SETTING_PREFIX)}
        reserved, places = self._reserved(backend), self._places(backend)
        return [
            LimitStatus(
                name=name,
                tasks=tasks.get(name, ()),
                declared=declared.get(name),
                change=changes.get(name),
                reserved_seconds=reserved.get(name, {}),
                holding={key: len(one.holders) for key, one in places.get(name, {}).items()},
                waiting={key: one.waiting for key, one in places.get(name, {}).items()},
            )
            for name in sorted({*declared, *changes, *reserved, *places})
        ]

    def set(
        self,
        name: str,
        limit: float,
        *,
        per: Duration | None = None,
        burst: float | None = None,
        by: str = "",
    ) -> None:
        """Change a limit for all its keys and all workers. It applies to the next call that draws from it.

        The change is stored in the backend, and lasts until `reset`. A waiting task draws again when it is due: with a
        lower limit it waits longer. With a higher limit it does not start sooner than it was to.

        Args:
            name: the name of the limit, as in the code: ``"api:{user}"``.
            limit: how much may start in each period, more than 0; of a concurrency limit: how many tasks may run at the
                same time, a whole number.
            per: the length of a period; seconds, or a timedelta. None: as in the code.
            burst: how much may start at once after a pause, more than 0; None: as in the code.
            by: the operator, shown to other operators.

        Raises:
            InvalidSignature: a number is wrong.
            ConfigurationError: no task of this app has a limit of that name.
        """
        backend = self._backend
        self._check_known(name, limit)
        change = LimitChange(
            limit=positive(f"the limit {name!r}", limit),
            per=None if per is None else seconds(f"the period of {name!r}", per),
            burst=None if burst is None else positive(f"the burst of {name!r}", burst),
            since=self._services.runtime.clock.now(),
            by=by,
        )
        backend.write_values([ValueWrite(key=setting_key(name), value=encode(change))])

    def reset(self, name: str) -> bool:
        """Let a limit be as in the code again; whether it was changed."""
        backend = self._backend
        (stored,) = backend.read_values([setting_key(name)])
        backend.write_values([ValueWrite(key=setting_key(name), value=None)])
        return stored is not None

    def holders(self, name: str | None = None) -> Sequence[PlaceHolder]:
        """The tasks that hold places of concurrency limits, by limit, key and time.

        Args:
            name: the name of the limit; None: of all limits.
        """
        backend = self._backend
        (clock,) = backend.read_values([CLOCK_KEY])
        time = store_time(clock)
        now = 0.0 if time is None else time.seconds
        held = [
            (one.name, key, holder)
            for one_name, places in self._places(backend).items()
            if name in (None, one_name)
            for key, one in places.items()
            for holder in one.holders
        ]
        records = backend.read([holder.task_id for _, _, holder in held])
        found = [
            PlaceHolder(
                name=limit,
                key=key,
                task_id=holder.task_id,
                task="" if record is None else record.task,
                state=None if record is None else record.state,
                worker=record.history[State.STARTED].worker if record and record.state is State.STARTED else "",
                seconds=max(0.0, now - holder.since),
                woken=holder.number is not None,
            )
            for (limit, key, holder), record in zip(held, records, strict=True)
        ]
        return sorted(found, key=lambda one: (one.name, one.key, -one.seconds))

    def unique_holders(self, *, limit: int = 1000) -> Sequence[UniqueHolder]:
        """The unique keys that are held, up to ``limit``, by task and key."""
        runtime, backend = self._services.runtime, self._backend
        stored = list(islice(values_under(backend, CLAIM_PREFIX), limit))
        claims = [(key, one, decode_claim(one.value, runtime.payloads)) for key, one in stored]
        known = [(key, one, claim) for key, one, claim in claims if claim is not None]
        records = backend.read([claim.task_id for _, _, claim in known])
        holders = [
            UniqueHolder(
                task=split_claim_key(key)[0],
                key=split_claim_key(key)[1],
                task_id=claim.task_id,
                since=claim.since,
                until=claim.until,
                seconds=one.expires_in_seconds,
                state=None if record is None else record.state,
            )
            for (key, one, claim), record in zip(known, records, strict=True)
            if not is_over(claim, record)
        ]
        return sorted(holders, key=lambda one: (one.task, one.key))

    @property
    def _backend(self) -> Backend:
        backend = self._services.runtime.backend
        if not backend.capabilities.stores:
            raise NotSupported("limits need a backend that stores results, and this app's backend is null://")
        return backend

    def _declared(self) -> tuple[Mapping[str, Rate | Concurrency], Mapping[str, Sequence[str]]]:
        """The limits of registered tasks by name, and the names of their tasks."""
        declared, tasks = dict[str, Rate | Concurrency](), dict[str, tuple[str, ...]]()
        for definition in self._services.runtime.registry.values():
            for spec in () if definition.limits is None else definition.limits.specs:
                declared[spec.name] = spec
                tasks[spec.name] = (*tasks.get(spec.name, ()), definition.name)
        return declared, tasks

    def _reserved(self, backend: Backend) -> Mapping[str, Mapping[str, float]]:
        (clock,) = backend.read_values([CLOCK_KEY])
        time = store_time(clock)
        reserved = defaultdict[str, dict[str, float]](dict)
        for key, stored in values_under(backend, RATE_PREFIX):
            with suppress(ValueError):  # another version of drivetrain has written it
                state = decode(stored.value, RateState)
                if time is not None and state.clock == time.clock:
                    reserved[state.name][key] = max(0.0, state.paid_at - time.seconds)
        return reserved

    def _places(self, backend: Backend) -> Mapping[str, Mapping[str, Places]]:
        """The places of keys in use, by the name of the limit and by key."""
        found = defaultdict[str, dict[str, Places]](dict)
        for key, stored in values_under(backend, PLACE_PREFIX):
            with suppress(ValueError):  # another version of drivetrain has written it
                places = decode(stored.value, Places)
                if places.holders or places.waiting:
                    found[places.name][key] = places
        return found

    def _check_known(self, name: str, limit: float) -> None:
        declared, _ = self._declared()
        if isinstance(declared.get(name), Concurrency) and limit != int(limit):
            raise InvalidSignature(f"the limit {name!r} is {limit!r}; it limits concurrency, so use a whole number")
        if self._services.runtime.registry and name not in declared:  # without tasks, an operator has named the drivers
            near = get_close_matches(name, declared, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its limits are: {', '.join(sorted(declared)) or 'none'}"
            raise ConfigurationError(f"no task of this app has a limit named {name!r}; {hint}")
