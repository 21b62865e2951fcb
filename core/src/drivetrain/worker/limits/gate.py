"""The gate: what a limited task passes between its delivery and its start. It delays or drops what must not start."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, frozen

from drivetrain.contract import State, message_bytes
from drivetrain.worker.effects import EffectRunner
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.limits.bound import BoundRate, TaskLimits
from drivetrain.worker.limits.cancelling import PlaceCanceller
from drivetrain.worker.limits.due_times import DueTimes
from drivetrain.worker.limits.freeing import PlaceReleaser
from drivetrain.worker.limits.keys import Arguments
from drivetrain.worker.limits.places import PlaceKeeper, Request
from drivetrain.worker.limits.rates import Draw, RateDraws
from drivetrain.worker.limits.uniqueness import Rescheduler
from drivetrain.worker.limits.waits import WaitingFor, begin_wait, ended_waits, line_number
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.publisher import LIMITED_HEADER, PARKED_HEADER, RESERVED_HEADER, Publisher
from drivetrain.worker.receiving.rejecting import Rejecter
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import Run, log_extra
from drivetrain.worker.runtime import Runtime

__all__ = ["LimitGate"]

logger = get_logger("drivetrain.worker")

#: How long before its instant a task is received, in seconds, beyond the resolution of the broker's delays. The worker
#: keeps it until then, so that what delays a message does not make the start late.
_EARLY_SECONDS = 0.1
#: How late a task may start with what was reserved for it, in seconds, beyond the resolution of the broker's delays.
#: Later it reserves again: otherwise all tasks that came due while no worker had room would start at once.
_LATE_SECONDS = 0.1


#: How long the message of a task is delayed that stands in a line, in seconds. It is woken before by a copy. Its own
#: message comes where that copy was lost.
_PARKED_SECONDS = 600.0
#: The same for a message that is too large to be stored, so that no copy can be made, in seconds.
_UNSTORED_SECONDS = 5.0


@frozen
class _Reserved:
    """What a message says about its reservation.

    Attributes:
        position: the position of the limit from which it was drawn last; those before it were drawn from too.
        generation: the generation of the numbers of that limit.
        instant: when the task may start; Unix seconds.
    """

    position: int
    generation: int
    instant: float

    @classmethod
    def of(cls, caller: _Caller) -> _Reserved | None:
        """The reservation that a message carries; None: there is none, or the task has other limits now."""
        text = caller.run.delivery.message.headers.get(RESERVED_HEADER)
        if text is None:
            return None
        try:
            position, generation, instant = text.split(":")
            found = cls(int(position), int(generation), float(instant))
        except ValueError:
            return None
        return found if 0 <= found.position < len(caller.limits.rates) else None

    def header(self) -> str:
        """It, as a header."""
        return f"{self.position}:{self.generation}:{self.instant!r}"


@frozen
class _Delay:
    """A run that waits for a rate limit."""

    caller: _Caller
    reserved: _Reserved

    @property
    def limit(self) -> str:
        """The name of the limit."""
        return self.caller.limits.rates[self.reserved.position].key.name

    @property
    def drops(self) -> bool:
        """Whether it is dropped instead."""
        return self.caller.limits.when_limited == "drop"

    def waiting_for(self, since: float) -> WaitingFor:
        """What its record says."""
        key = self.caller.limits.rates[self.reserved.position].key.of(self.caller.arguments)
        return WaitingFor(limit=self.limit, since=since, key=key, until=self.reserved.instant)


@define(eq=False)
class _Caller:
    """A run at the gate."""

    run: Run
    limits: TaskLimits
    arguments: Arguments
    #: The position of the next rate limit to draw from.
    position: int = 0

    @property
    def rate(self) -> BoundRate | None:
        """The rate limit to draw from; None: it has drawn from all."""
        return self.limits.rates[self.position] if self.position < len(self.limits.rates) else None


class LimitGate:
    """Lets runs start as their limits allow. Used by the receiving thread.

    All methods raise `GaveUp` if the worker stops while a service is unavailable. Then the messages are delivered
    again.
    """

    def __init__(
        self,
        runtime: Runtime,
        options: WorkerOptions,
        *,
        publisher: Publisher,
        effect_runner: EffectRunner,
        rejecter: Rejecter,
        acknowledger: Acknowledger,
        place_keeper: PlaceKeeper,
        place_releaser: PlaceReleaser,
        retrier: Retrier,
    ) -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._rejecter = rejecter
        self._acknowledger = acknowledger
        self._place_keeper = place_keeper
        self._place_releaser = place_releaser
        self._retrier = retrier
        self._canceller = PlaceCanceller(runtime, effect_runner, retrier)
        self._due_times = DueTimes(runtime, options, effect_runner=effect_runner, retrier=retrier)
        self._rescheduler = Rescheduler(
            runtime,
            publisher=publisher,
            acknowledger=acknowledger,
            due_times=self._due_times,
            retrier=retrier,
        )
        self._draws = RateDraws(lambda: runtime.backend, runtime.clock, retrier)
        resolution = runtime.broker.capabilities.delay_resolution_seconds
        self._early_seconds = _EARLY_SECONDS + resolution
        self._late_seconds = _LATE_SECONDS + resolution
        #: Whether a run may be admitted a moment before its instant, with its `Run.not_before`.
        self.receive_early = True

    def admit(self, runs: Sequence[Run], now: float) -> list[Run]:
        """The runs that may start now, in order; the deliveries of the other ones are settled.

        Args:
            runs: runs whose start is not recorded yet.
            now: Unix seconds.
        """
        runs = self._rescheduler.startable(runs, now)
        callers = {id(run): caller for run in runs if (caller := self._caller(run)) is not None}
        refused = {id(run) for run in runs if run.definition.limits is not None and id(run) not in callers}
        if not callers:
            return [run for run in runs if id(run) not in refused]
        self._skip_reserved(list(callers.values()), now)
        held = self._draw_all(list(callers.values()), now)
        held |= self._take_places([one for one in callers.values() if id(one.run) not in held], now)
        for caller in callers.values():
            if id(caller.run) not in held and LIMITED_HEADER in caller.run.delivery.message.headers:
                self._end_waits(caller, now)
        return [run for run in runs if id(run) not in refused and id(run) not in held]

    def _end_waits(self, caller: _Caller, now: float) -> None:
        """Note for which limits a run has waited that may start now, or at its instant."""
        run = caller.run
        start = now if run.not_before is None else now + run.not_before - self._runtime.clock.monotonic()
        run.limit_waits = ended_waits(run.delivery.message, {spec.name for spec in caller.limits.specs}, start)

    def _caller(self, run: Run) -> _Caller | None:
        """The run with its arguments; None: it has no limits, or it was rejected because they cannot be applied."""
        limits, call = run.definition.limits, run.invocation.call
        if limits is None:
            return None
        if limits.constant:
            return _Caller(run, limits, ((), {}))
        try:
            return _Caller(run, limits, run.definition.binding.decode_call(call.args, call.kwargs))
        except Exception:  # noqa: BLE001 - wrong arguments: the run fails with the same error, and explains it
            return _Caller(run, TaskLimits((), (), limits.when_limited), ((), {}))

    # Rates

    def _skip_reserved(self, callers: Sequence[_Caller], now: float) -> None:
        """Move callers past the limits from which they have drawn in time, unless the numbers have changed since."""
        reserved = {id(one): found for one in callers if (found := _Reserved.of(one)) is not None}
        if not reserved:
            return
        known = [one for one in callers if id(one) in reserved]
        generations = self._draws.generations(one.limits.rates[reserved[id(one)].position].key.name for one in known)
        for one in known:
            found = reserved[id(one)]
            name = one.limits.rates[found.position].key.name
            if now - found.instant <= self._late_seconds and generations[name] == found.generation:
                one.position = found.position + 1
                self._not_before(one.run, found.instant - now)
            else:
                one.position = found.position

    def _draw_all(self, callers: Sequence[_Caller], now: float) -> set[int]:
        """Draw for each caller from its limits, one after the other; the ids of the runs that must wait."""
        held = set[int]()
        while callers := [one for one in callers if one.rate is not None]:
            draws, rejected = self._draws_of(callers)
            callers = [one for one in callers if id(one) not in rejected]
            held |= {id(one) for one in rejected.values()}
            drawn = self._draws.draw(draws)
            delays = []
            early = self._early_seconds if self.receive_early else 0.0
            for one, result in zip(callers, drawn, strict=True):
                if result.wait_seconds > early or (result.wait_seconds > 0 and one.limits.when_limited == "drop"):
                    delays.append(_Delay(one, _Reserved(one.position, result.generation, now + result.wait_seconds)))
                else:
                    self._not_before(one.run, result.wait_seconds)
                one.position += 1
            held |= self._hold(delays, now)
            waiting = {id(one.caller) for one in delays}
            callers = [one for one in callers if id(one) not in waiting]
        return held

    def _draws_of(self, callers: Sequence[_Caller]) -> tuple[list[Draw], dict[int, Run]]:
        """The draws of callers; and the runs, by the id of the caller, that were rejected since it has no key."""
        draws, rejected = [], dict[int, Run]()
        for one in callers:
            try:
                if one.rate is not None:
                    draws.append(one.rate.draw(one.arguments))
            except Exception as error:  # noqa: BLE001 - a function of the application may raise anything; it ends this task
                self._reject(one, error)
                rejected[id(one)] = one.run
        return draws, rejected

    # What must wait

    def _hold(self, delays: Sequence[_Delay], now: float) -> set[int]:
        """Delay or drop callers; the ids of their runs, without those whose task has ended or runs elsewhere."""
        if not delays:
            return set()
        dropped = [one.caller.run for one in delays if one.drops]
        for one in delays:
            if one.drops:
                text = f"limit {one.limit!r} was reached, and when_limited is 'drop'"
                self._rejecter.drop(one.caller.run.delivery, one.caller.run.invocation, text)
        waiting = []
        for one in delays:
            if not one.drops:
                header, since = begin_wait(one.caller.run.delivery.message, one.limit, now)
                waiting.append((one, header, since))
        gone = self._due_times.record(
            [(one.caller.run, one.reserved.instant, one.waiting_for(since)) for one, _, since in waiting]
        )
        waiting_here = [(one, header) for one, header, _ in waiting if one.caller.run.id not in gone]
        self._delay(waiting_here)
        return {id(run) for run in dropped} | {id(one.caller.run) for one, _ in waiting_here}

    def _delay(self, waiting: Sequence[tuple[_Delay, str]]) -> None:
        """Publish waiting runs again, each with its `LIMITED_HEADER`."""
        if not waiting:
            return
        early = self._early_seconds if self.receive_early else 0.0
        self._publisher.publish_later(
            [
                (
                    one.caller.run.delivery,
                    one.reserved.instant - early,
                    {RESERVED_HEADER: one.reserved.header(), LIMITED_HEADER: header},
                )
                for one, header in waiting
            ]
        )
        self._acknowledger.acknowledge_copied([one.caller.run.delivery for one, _ in waiting])
        for one, _ in waiting:
            extra = log_extra(one.caller.run.invocation)
            logger.debug("waiting until %.3f for limit %s", one.reserved.instant, one.limit, extra=extra)

    def _not_before(self, run: Run, wait_seconds: float) -> None:
        if wait_seconds > 0 and self.receive_early:
            run.not_before = self._runtime.clock.monotonic() + wait_seconds

    # Places

    def _take_places(self, callers: Sequence[_Caller], now: float) -> set[int]:
        """Take the places of each caller, or none; the ids of the runs that must wait, or were dropped."""
        callers = self._unfinished([one for one in callers if one.limits.concurrency])
        requests, held = [], set[int]()
        for one in callers:
            try:
                places = one.limits.places(one.arguments)
            except Exception as error:  # noqa: BLE001 - a function of the application may raise anything; it ends this task
                self._reject(one, error)
                held.add(id(one.run))
                continue
            message = one.run.delivery.message
            waits = one.limits.when_limited == "wait"
            requests.append(
                (
                    one,
                    Request(message, places, waits, numbers=dict(filter(None, [line_number(message)]))),
                )
            )
        if not requests:
            return held
        self._take([request for _, request in requests])
        for one, request in requests:
            if one.limits.when_limited == "cancel_oldest":
                self._make_room(request)
        for one, request in requests:
            if request.taken:
                one.run.places = request.places
        blocked = [(one, request) for one, request in requests if not request.taken]
        self._park([(one, request) for one, request in blocked if request.parked is not None], now)
        for one, request in blocked:
            if request.parked is None:
                text = f"limit {request.blocked!r} has no free place, and when_limited is {one.limits.when_limited!r}"
                self._rejecter.drop(one.run.delivery, one.run.invocation, text)
        return held | {id(one.run) for one, _ in blocked}

    def _take(self, requests: Sequence[Request]) -> None:
        self._place_releaser.follow(self._place_keeper.take(requests))

    def _make_room(self, request: Request) -> None:
        """Cancel the oldest tasks until a request has its places."""
        while not request.taken and request.blocked is not None and request.oldest:
            self._canceller.cancel([request.oldest], request.blocked)
            request.blocked = None
            self._take([request])

    def _unfinished(self, callers: Sequence[_Caller]) -> Sequence[_Caller]:
        """Without those that have waited in a line and were started meanwhile, by another message that woke them."""
        woken = [one.run.task_id for one in callers if PARKED_HEADER in one.run.delivery.message.headers]
        if not woken:
            return callers
        records = self._retrier.call("read", lambda: self._runtime.backend.read(woken))
        begun = {
            record.task_id
            for record in records
            if record is not None and (record.state.terminal or record.state is State.STARTED)
        }
        return [one for one in callers if one.run.task_id not in begun]

    def _park(self, waiting: Sequence[tuple[_Caller, Request]], now: float) -> None:
        """Delay the messages of tasks that stand in a line. A free place wakes them before, with a copy."""
        if not waiting:
            return
        largest = self._runtime.backend.capabilities.largest_value_bytes
        records, later = [], []
        for one, request in waiting:
            key, number = request.number
            wakes = largest is None or 2 * message_bytes(request.message) < largest
            due = now + (_PARKED_SECONDS if wakes else _UNSTORED_SECONDS)
            header, since = begin_wait(request.message, request.limit, now)
            records.append((one.run, due, WaitingFor(limit=request.limit, since=since, key=key, number=number)))
            later.append((one.run.delivery, due, {PARKED_HEADER: f"{number}:{key}", LIMITED_HEADER: header}))
            logger.debug("waiting for a place of limit %s", key, extra=log_extra(one.run.invocation))
        self._due_times.record(records)
        self._publisher.publish_later(later)
        self._acknowledger.acknowledge_copied([delivery for delivery, _, _ in later])

    def _reject(self, one: _Caller, error: Exception) -> None:
        reason = f"a limit of the task cannot be applied: {error!r}"
        self._rejecter.dead_letter(one.run.delivery, one.run.invocation, reason, error)
