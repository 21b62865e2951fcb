"""Retries of unique tasks: a retried task claims its key again, or gives way to the task that holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivetrain.contract import ValueWrite, VersionedValue
from drivetrain.worker.limits.claims import Claim, decode_claim, encode_claim, is_over
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import UNIQUE_HEADER, Call

__all__ = ["claim_again"]


def claim_again(runtime: Runtime, calls: Sequence[Call]) -> Mapping[str, str]:
    """Claim the keys of the unique ones among ended tasks, which will run again.

    A task that holds its key for a time, whether it runs or not, claims nothing: it was sent once.

    Returns:
        For each task whose key another task holds: the id of that task.

    Raises:
        ServiceError: the backend could not be reached.
    """
    keys = {
        key: call
        for call in calls
        if (key := call.headers.get(UNIQUE_HEADER)) is not None and isinstance(_until(runtime, call), str)
    }
    if not keys:
        return {}
    stored = dict(zip(keys, runtime.backend.read_values(list(keys)), strict=True))
    claims = {key: None if one is None else decode_claim(one.value, runtime.payloads) for key, one in stored.items()}
    holders = {key: claim.task_id for key, claim in claims.items() if claim is not None}
    records = dict(zip(holders.values(), runtime.backend.read(list(holders.values())), strict=True))
    held = {
        keys[key].id: claim.task_id
        for key, claim in claims.items()
        if claim is not None
        and claim.task_id != keys[key].id
        and claim.until != "time"
        and not is_over(claim, records[claim.task_id])
    }
    free = {key: call for key, call in keys.items() if call.id not in held}
    outcomes = runtime.backend.write_values([_claim(runtime, key, call, stored[key]) for key, call in free.items()])
    for call, outcome in zip(free.values(), outcomes, strict=True):
        claim = None if outcome.current is None else decode_claim(outcome.current.value, runtime.payloads)
        if not outcome.written and claim is not None and claim.task_id != call.id:
            held[call.id] = claim.task_id  # it was claimed in this moment
    return held


def _until(runtime: Runtime, call: Call) -> str | float:
    """Until when a task holds its key. A process that does not know the task keeps the key until its end."""
    definition = runtime.registry.get(call.task)
    return "finished" if definition is None or definition.unique is None else definition.unique.spec.until


def _claim(runtime: Runtime, key: str, call: Call, stored: VersionedValue | None) -> ValueWrite:
    claim = Claim(task_id=call.id, since=runtime.clock.now(), until=str(_until(runtime, call)))
    version = 0 if stored is None else stored.version
    return ValueWrite(key=key, value=encode_claim(claim, runtime.payloads), if_version=version)
