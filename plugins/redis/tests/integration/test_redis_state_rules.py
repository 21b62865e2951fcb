"""The rule of states in Lua is the one in Python: every record and every wish, decided by both."""

import struct
import time
from itertools import product
from random import Random

from drivetrain.contract import State, StateChange, TaskRecord, Transition, apply, grants
from drivetrain_redis.codec import STATES, unpack_record
from drivetrain_redis.keys import Keys

_TOLERANCE_SECONDS = 60.0
_LONG = 3600.0
#: What is decided by. Leases are over long ago or not for long: both decide at their own time.
_RUNS = (None, "", "r")
_ATTEMPTS = (0, 1, 2)
_LEASES = (None, -_LONG, _LONG)
_BEFORE = [None, *product(STATES, _ATTEMPTS[:2], _RUNS, _LEASES)]
_WISHES = list(product(STATES, _ATTEMPTS, _RUNS))
#: What is kept beside it.
_NAMES = ("", "a", "ü", "worker-1")
#: Of queue, workflow and parent; a record without any is as an earlier version has stored it.
_ORIGINS = [("", "", "")] * 3 + list(product(("", "q", "nul\0 ü"), ("", "wf"), ("", "p")))
_BYTES = (*(None, b"", b"1", b"\0\xff") * 5, b"x" * 20_000)
_BATCH = 800


def some_origin(random):
    return dict(zip(("queue", "workflow", "parent"), random.choice(_ORIGINS), strict=True))


def some_record(random, state, attempt, run, lease):
    """A record, whether or not a task can come to have it; but it has entered the state in which it is."""
    entered = {state, *random.sample(STATES, 3)}
    return TaskRecord(
        task_id="",
        state=state,
        attempt=attempt,
        task=random.choice(_NAMES),
        **some_origin(random),
        run=run,
        leased_until=None if lease is None else time.time() + lease,
        starts=random.randrange(4),
        payload=random.choice(_BYTES),
        downstream=random.choice(_BYTES),
        history={each: StateChange(random.uniform(0, 2e9), random.choice(_NAMES)) for each in sorted(entered)},
    )


def some_wish(random, task_id, state, attempt, run):
    return Transition(
        task_id=task_id,
        state=state,
        attempt=attempt,
        at=random.uniform(0, 2e9),
        worker=random.choice(_NAMES),
        task=random.choice(_NAMES),
        **some_origin(random),
        run=run,
        lease=random.choice(_LEASES),
        received_at=random.choice((None, 1.5)),
        payload=random.choice(_BYTES),
        downstream=random.choice(_BYTES),
        retention=random.choice((None, _LONG, 1e12)),
    )


def packed(record):
    """A record as Redis keeps it, written by other means than the driver's own script."""
    entries = b"".join(
        struct.pack(">BdI", STATES.index(state), entry.at, len(entry.worker.encode())) + entry.worker.encode()
        for state, entry in record.history.items()
    )
    run, task = (record.run or "").encode(), record.task.encode()
    downstream, payload = record.downstream or b"", record.payload or b""
    told = (record.payload, record.downstream, record.run, record.leased_until)
    flags = sum(bit for bit, value in zip((1, 2, 4, 8), told, strict=True) if value is not None)
    if record.queue or record.workflow or record.parent:
        flags += 128
        names = [text.encode() for text in (record.task, record.queue, record.workflow, record.parent)]
        task = struct.pack(">III", *map(len, names[:3])) + b"".join(names)
    head = struct.pack(
        ">BBIIddIIII",
        *(flags, STATES.index(record.state), record.attempt, record.starts, record.leased_until or 0.0, 0.0),
        *map(len, (run, task, entries, downstream)),
    )
    return head + run + task + entries + downstream + payload


def timeless(record):
    fields = (
        "task_id",
        "state",
        "attempt",
        "task",
        "queue",
        "workflow",
        "parent",
        "run",
        "starts",
        "payload",
        "downstream",
    )
    return tuple(getattr(record, name) for name in fields), dict(record.history)


def near(one, other):
    if one is None or other is None:
        return one is other
    return abs(one - other) < _TOLERANCE_SECONDS or min(one, other) > 1e11  # kept for ever, as good as


def test_every_transition_of_every_record_is_decided_as_by_the_contract(backend, client, prefix):
    random, keys = Random(1), Keys(prefix)
    pairs = list(product(_BEFORE, _WISHES))
    assert len(pairs) > 10_000
    for first in range(0, len(pairs), _BATCH):
        before, batch, kept = [], [], {}
        for number, (past, asked) in enumerate(pairs[first : first + _BATCH]):
            task_id = f"{first + number}"
            record = None if past is None else packed(some_record(random, *past))
            if record is not None:
                kept[keys.task(task_id)] = record
            before.append(None if record is None else unpack_record(task_id, record))
            batch.append(some_wish(random, task_id, *asked))
        if kept:
            client.mset(kept)
        _decided_alike(backend, before, batch)
        client.unlink(*map(keys.task, (wish.task_id for wish in batch)))


def _decided_alike(backend, before, batch):
    now = time.time()
    outcomes = backend.record(batch)
    found = backend.read([wish.task_id for wish in batch])
    for wish, was, outcome, record in zip(batch, before, outcomes, found, strict=True):
        after = apply(was, wish, now)
        assert outcome.applied is (after is not None) is grants(was, wish, now), (was, wish)
        expected = was if after is None else after
        assert (outcome.before is None) == (was is None)
        assert was is None or timeless(outcome.before) == timeless(was)
        assert timeless(record) == timeless(expected), (was, wish)
        assert near(record.leased_until, expected.leased_until), (was, wish)
        assert near(record.expires_at, expected.expires_at), (was, wish)


def test_a_task_that_is_tried_a_thousand_times_keeps_the_last_entry_of_each_state(backend):
    tries = [
        wish
        for attempt in range(300)
        for wish in (
            Transition(
                task_id="t", state=State.STARTED, attempt=attempt, at=2.0 * attempt, worker="w", run="r", lease=9.0,
                received_at=2.0 * attempt,
            ),
            Transition(task_id="t", state=State.RETRY, attempt=attempt, at=2.0 * attempt + 1, worker="w", run="r"),
        )
    ]  # fmt: skip
    backend.record([Transition(task_id="t", state=State.PENDING, at=0.5), *tries])
    (record,) = backend.read(["t"])
    assert dict(record.history) == {
        State.PENDING: StateChange(0.5),
        State.RECEIVED: StateChange(598.0, "w"),
        State.STARTED: StateChange(598.0, "w"),
        State.RETRY: StateChange(599.0, "w"),
    }
    assert len(record.history._data) < 2_000
