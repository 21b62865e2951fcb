"""Records of tasks as bytes and back, for services that keep no columns. Pure.

The bytes are a line of ASCII JSON, then the payload and the downstream as they are. Any text survives, with NUL
characters and halves of surrogate pairs in it; numbers of any size survive, and infinite ones.
"""

from __future__ import annotations

import json

from drivetrain.contract.states import State, StateChange, TaskRecord

__all__ = ["decode_record", "encode_record"]

# Made once: json.dumps with options makes an encoder for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_STATES = {state.value: state for state in State}


def encode_record(record: TaskRecord) -> bytes:
    """The record as bytes for `decode_record`."""
    payload, downstream = record.payload, record.downstream
    head = [
        record.task_id,
        record.state.value,
        record.attempt,
        record.task,
        record.run,
        record.leased_until,
        record.starts,
        {state.value: (change.at, change.worker) for state, change in record.history.items()},
        record.expires_at,
        None if payload is None else len(payload),
        None if downstream is None else len(downstream),
    ]
    if record.queue or record.workflow or record.parent:
        head += [record.queue, record.workflow, record.parent]
    return b"".join((_encode(head).encode("ascii"), b"\n", payload or b"", downstream or b""))


def decode_record(data: bytes) -> TaskRecord:
    """The record that `encode_record` has encoded.

    Raises:
        ValueError, KeyError: the bytes are of another form.
    """
    end = data.index(b"\n")
    task_id, state, attempt, task, run, leased_until, starts, history, expires_at, *rest = _decode(
        data[:end].decode("ascii")
    )
    payload_bytes, downstream_bytes, *names = rest
    queue, workflow, parent = names or ("", "", "")
    middle = end + 1 + (payload_bytes or 0)
    return TaskRecord(
        task_id=task_id,
        state=_STATES[state],
        attempt=attempt,
        task=task,
        queue=queue,
        workflow=workflow,
        parent=parent,
        run=run,
        leased_until=leased_until,
        starts=starts,
        payload=None if payload_bytes is None else data[end + 1 : middle],
        downstream=None if downstream_bytes is None else data[middle : middle + downstream_bytes],
        history={_STATES[name]: StateChange(at, worker) for name, (at, worker) in history.items()},
        expires_at=expires_at,
    )
