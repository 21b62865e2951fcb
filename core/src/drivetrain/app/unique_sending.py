"""Sending unique tasks: each claims its key before it is sent, or gives way to the task that holds it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from attrs import define, field, frozen
from msgspec.structs import replace

from drivetrain.app.task_ids import parts
from drivetrain.contract import (
    AlreadySent,
    InvalidSignature,
    NotSupported,
    TaskRecord,
    ValueOutcome,
    ValueWrite,
    VersionedValue,
)
from drivetrain.worker.limits.bound import BoundUnique
from drivetrain.worker.limits.claims import (
    CLAIM_PREFIX,
    Claim,
    claim_key,
    decode_claim,
    encode_claim,
    in_doubt,
    is_over,
    split_claim_key,
)
from drivetrain.worker.publisher import first_due
from drivetrain.worker.registry import TaskDefinition
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import UNIQUE_HEADER, Call, Frames

__all__ = ["Claimed", "UniqueClaims"]

#: How often a claim is read again while its task is being sent, in seconds.
_DOUBT_SECONDS = 0.02


@frozen
class Claimed:
    """Workflows after their claims.

    Attributes:
        planned: all of them; one that gave way has the id of the task that holds its key.
        sent: those to send.
        replaced: the ids of tasks to cancel first.
    """

    planned: list[Frames]
    sent: list[Frames]
    replaced: list[str]


@define(eq=False)
class _Caller:
    """A call of a unique task, on its way to a claim."""

    index: int
    call: Call
    bound: BoundUnique
    key: str
    #: The version of the claim that it takes over; 0: none is stored.
    over: int = 0
    #: The version of its claim; 0: it has none.
    version: int = 0
    #: The id of the task that it gave way to.
    holder: str | None = None
    #: The ids of the tasks that it replaces.
    replaces: list[str] = field(factory=list)


class UniqueClaims:
    """Claims keys for unique tasks. Thread-safe.

    Args:
        runtime: the drivers of the app.
        retrier: retries while the backend is unavailable.
    """

    def __init__(self, runtime: Runtime, retrier: Retrier) -> None:
        self._runtime = runtime
        self._retrier = retrier

    def claim(self, planned: Sequence[Frames]) -> Claimed:
        """Claim the keys of the unique tasks among ``planned``.

        Raises:
            AlreadySent: another task holds a key, and the task says that this raises; then nothing is claimed.
            InvalidSignature: a unique task is a part of a workflow.
            NotSupported: the backend stores nothing.
            ServiceError: the backend could not be reached.
        """
        callers = [caller for index, frames in enumerate(planned) if (caller := self._caller(index, frames))]
        result = list(planned)
        if not callers:
            return Claimed(result, result, [])
        self._check_backend(callers[0].call)
        try:
            self._resolve(callers)
        except BaseException:  # raised again: a key must not stay claimed for a task that is not sent
            self._remove(callers)
            raise
        for one in callers:
            call = one.call if one.holder is None else replace(one.call, id=one.holder)
            result[one.index] = (call,)
        gave_way = {one.index for one in callers if one.holder is not None}
        sent = [frames for index, frames in enumerate(result) if index not in gave_way]
        return Claimed(result, sent, [task_id for one in callers for task_id in one.replaces])

    def give_up(self, task_ids: Iterable[str], claimed: Claimed) -> None:
        """Remove the claims of tasks that were not sent.

        Raises:
            ServiceError: the backend could not be reached; the claims end by themselves in a moment.
        """
        lost = set(task_ids)
        calls = [frames[0] for frames in claimed.sent]
        keys = {
            call.headers[UNIQUE_HEADER]: call.id
            for call in calls
            if isinstance(call, Call) and call.id in lost and UNIQUE_HEADER in call.headers
        }
        backend, payloads = self._runtime.backend, self._runtime.payloads
        stored = dict(zip(keys, backend.read_values(list(keys)), strict=True))
        writes = []
        for key, one in stored.items():
            claim = None if one is None else decode_claim(one.value, payloads)
            if one is not None and claim is not None and claim.task_id == keys[key]:
                writes.append(ValueWrite(key=key, value=None, if_version=one.version))
        backend.write_values(writes)

    # The calls

    def _caller(self, index: int, frames: Frames) -> _Caller | None:
        first = frames[0]
        lone = first if isinstance(first, Call) and len(frames) == 1 else None
        for part in parts([frames]):
            if isinstance(part, Call) and part is not lone and self._unique(part.task) is not None:
                raise InvalidSignature(
                    f"task {part.task} is unique, so it cannot be a part of a workflow or a callback: another task may "
                    "hold its key; send it by itself, from a task of the workflow"
                )
        if lone is None or (definition := self._definition(lone.task)) is None or definition.unique is None:
            return None
        bound = definition.unique
        call = lone
        if bound.wait is not None and call.eta is None and call.delay is None:
            call = replace(call, delay=bound.wait)
        key = claim_key(definition.name, self._key(definition, bound, call))
        return _Caller(index, replace(call, headers={**call.headers, UNIQUE_HEADER: key}), bound, key)

    def _definition(self, task: str) -> TaskDefinition | None:
        return self._runtime.registry.get(task)

    def _unique(self, task: str) -> BoundUnique | None:
        definition = self._definition(task)
        return None if definition is None else definition.unique

    def _key(self, definition: TaskDefinition, bound: BoundUnique, call: Call) -> str:
        if bound.key is not None:
            constant = bound.key.constant
            return bound.key.of(((), {}) if constant else definition.binding.decode_call(call.args, call.kwargs))
        bound_arguments = inspect.signature(definition.function).bind(*call.args, **call.kwargs)
        body = self._runtime.payloads.dump_body([[name, value] for name, value in bound_arguments.arguments.items()])
        return blake2b(body, digest_size=16).hexdigest()

    def _check_backend(self, call: Call) -> None:
        if not self._runtime.backend.capabilities.stores:
            raise NotSupported(
                f"task {call.task} is unique, which needs a backend that stores results, and this app's backend is "
                "null://"
            )

    # The claims

    def _resolve(self, callers: Sequence[_Caller]) -> None:
        """Let each caller have its claim, or give way."""
        ours = {one.call.id for one in callers}
        open_callers = list(callers)
        while open_callers:
            refused = self._write(_first_of_each_key(open_callers))
            holders = [claim.task_id for _, claim, _ in refused]
            records = self._read([task_id for task_id in holders if task_id not in ours])
            now, doubts = self._runtime.clock.now(), False
            for one, claim, stored in refused:
                record = records.get(claim.task_id)
                if claim.task_id not in ours and in_doubt(claim, record, now):
                    doubts = True
                elif claim.task_id not in ours and is_over(claim, record):
                    one.over = stored.version
                else:
                    self._give_way(one, claim, stored, ours)
            open_callers = [one for one in open_callers if not one.version and one.holder is None]
            if doubts:
                self._runtime.clock.wait_event(threading.Event(), _DOUBT_SECONDS)

    def _write(self, callers: Sequence[_Caller]) -> list[tuple[_Caller, Claim, VersionedValue]]:
        """Write claims; the callers that were refused, each with the claim that is stored."""
        now, payloads = self._runtime.clock.now(), self._runtime.payloads
        writes = [self._claim_write(one, now) for one in callers]
        outcomes = self._write_values(writes)
        refused = []
        for one, outcome in zip(callers, outcomes, strict=True):
            current = outcome.current
            claim = None if current is None else decode_claim(current.value, payloads)
            if current is None:
                one.over = 0  # it has ended meanwhile
            elif outcome.written or (claim is not None and claim.task_id == one.call.id):
                one.version = current.version
            elif claim is None:
                one.over = current.version  # unreadable
            else:
                refused.append((one, claim, current))
        return refused

    def _claim_write(self, one: _Caller, now: float) -> ValueWrite:
        until = one.bound.spec.until
        seconds = until if isinstance(until, float) else None
        claim = Claim(
            task_id=one.call.id,
            since=now,
            until=until if isinstance(until, str) else "time",
            due=first_due(one.call, now) if one.bound.spec.on_conflict == "reschedule" else None,
        )
        value = encode_claim(claim, self._runtime.payloads)
        return ValueWrite(key=one.key, value=value, if_version=one.over, expires_in_seconds=seconds)

    def _give_way(self, one: _Caller, claim: Claim, stored: VersionedValue, ours: set[str]) -> None:
        """Do what a task says that happens while another task holds its key."""
        on_conflict = one.bound.spec.on_conflict
        if on_conflict == "raise":
            raise AlreadySent(claim.task_id, one.call.task, split_claim_key(one.key.removeprefix(CLAIM_PREFIX))[1])
        if on_conflict == "replace" and claim.task_id not in ours:
            one.over = stored.version
            one.replaces.append(claim.task_id)
        elif on_conflict != "reschedule" or self._reschedule(one, claim, stored):
            one.holder = claim.task_id

    def _reschedule(self, one: _Caller, claim: Claim, stored: VersionedValue) -> bool:
        """Give the task that holds the key new arguments and another due time; False: the claim has changed."""
        now = self._runtime.clock.now()
        due = first_due(one.call, now)
        if one.bound.max_wait is not None and due is not None:
            due = min(due, claim.since + one.bound.max_wait)
        changed = replace(claim, args=list(one.call.args), kwargs=dict(one.call.kwargs), due=due)
        value = encode_claim(changed, self._runtime.payloads)
        (outcome,) = self._write_values([ValueWrite(key=one.key, value=value, if_version=stored.version)])
        return outcome.written or (outcome.current is not None and outcome.current.value == value)

    def _remove(self, callers: Iterable[_Caller]) -> None:
        held = [one for one in callers if one.version]
        self._write_values([ValueWrite(key=one.key, value=None, if_version=one.version) for one in held])

    def _write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        return self._retrier.call("claim", lambda: self._runtime.backend.write_values(writes)) if writes else ()

    def _read(self, task_ids: Sequence[str]) -> Mapping[str, TaskRecord]:
        if not task_ids:
            return {}
        records = self._retrier.call("read", lambda: self._runtime.backend.read(task_ids))
        return {record.task_id: record for record in records if record is not None}


def _first_of_each_key(callers: Sequence[_Caller]) -> list[_Caller]:
    """The first caller of each key: another one of this batch sees its claim."""
    first: dict[str, _Caller] = {}
    for one in callers:
        first.setdefault(one.key, one)
    return list(first.values())
