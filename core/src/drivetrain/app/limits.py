"""The limits of an app's tasks: read, and changed while workers run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice

from attrs import field, frozen

from drivetrain.app.services import Services
from drivetrain.contract import Backend, ConfigurationError, NotSupported, State, ValueWrite
from drivetrain.worker.limits.claims import CLAIM_PREFIX, decode_claim, is_over, split_claim_key
from drivetrain.worker.limits.durations import Duration, positive, seconds
from drivetrain.worker.limits.rates import RATE_PREFIX, RateState
from drivetrain.worker.limits.settings import SETTING_PREFIX, LimitChange, setting_key, stored_change
from drivetrain.worker.limits.specs import Rate
from drivetrain.worker.limits.store_clock import CLOCK_KEY, store_time
from drivetrain.worker.limits.stored import values_under
from drivetrain.worker.value_codec import decode, encode

__all__ = ["LimitStatus", "Limits", "UniqueHolder"]


@frozen(kw_only=True)
class LimitStatus:
    """A limit, and how much of it is in use.

    Attributes:
        name: its name, as in the code.
        tasks: the names of the tasks that it limits; empty: this app has none of them.
        declared: the limit in the code; None: this app has none of its tasks.
        change: what an operator has set; None: nothing.
        reserved_seconds: for each key in use: for how many seconds from now starts are reserved.
    """

    name: str
    tasks: Sequence[str] = ()
    declared: Rate | None = None
    change: LimitChange | None = None
    reserved_seconds: Mapping[str, float] = field(factory=dict)


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
        reserved = self._reserved(backend)
        return [
            LimitStatus(
                name=name,
                tasks=tasks.get(name, ()),
                declared=declared.get(name),
                change=changes.get(name),
                reserved_seconds=reserved.get(name, {}),
            )
            for name in sorted({*declared, *changes, *reserved})
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
            limit: how much may start in each period, more than 0.
            per: the length of a period; seconds, or a timedelta. None: as in the code.
            burst: how much may start at once after a pause, more than 0; None: as in the code.
            by: the operator, shown to other operators.

        Raises:
            InvalidSignature: a number is wrong.
            ConfigurationError: no task of this app has a limit of that name.
        """
        backend = self._backend
        self._check_known(name)
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

    def _declared(self) -> tuple[Mapping[str, Rate], Mapping[str, Sequence[str]]]:
        """The limits of registered tasks by name, and the names of their tasks."""
        declared, tasks = dict[str, Rate](), dict[str, tuple[str, ...]]()
        for definition in self._services.runtime.registry.values():
            for one in () if definition.limits is None else definition.limits.rates:
                declared[one.spec.name] = one.spec
                tasks[one.spec.name] = (*tasks.get(one.spec.name, ()), definition.name)
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

    def _check_known(self, name: str) -> None:
        declared, _ = self._declared()
        if self._services.runtime.registry and name not in declared:  # without tasks, an operator has named the drivers
            near = get_close_matches(name, declared, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its limits are: {', '.join(sorted(declared)) or 'none'}"
            raise ConfigurationError(f"no task of this app has a limit named {name!r}; {hint}")
