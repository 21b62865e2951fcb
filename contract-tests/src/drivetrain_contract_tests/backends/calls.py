"""Short ways to say what a check asks of a backend; what is not said does not matter to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from drivetrain.contract import (
    Backend,
    Completion,
    Group,
    Member,
    Outcome,
    RunLease,
    State,
    TaskPage,
    TaskReach,
    TaskRecord,
    Transition,
)
from drivetrain_contract_tests.backends.base import LONG

__all__ = [
    "HOSTILE_NAMES",
    "NOTHING",
    "PAYLOADS",
    "TERMINAL",
    "UNFINISHED",
    "counts",
    "done",
    "granted",
    "known",
    "listed",
    "listed_ids",
    "open_group",
    "pages",
    "payloads_up_to",
    "progress",
    "read",
    "record",
    "refused",
    "renewed",
    "start",
    "transition",
]

#: The counts of an empty namespace.
NOTHING = {"tasks": 0, "groups": 0, "members": 0, "bodies": 0, "values": 0}
TERMINAL = tuple(state for state in State if state.terminal)
UNFINISHED = TaskReach.UNFINISHED.states
#: Values that services have changed: empty, text of theirs, numbers, bytes without text, blanks at the ends, large.
PAYLOADS = (
    b"",
    b"0",
    b"1",
    b"null",
    b"true",
    b"{}",
    b'{"$oid": "x", "n": 1.0}',
    b"[1, 2]",
    b'"text"',
    b"18446744073709551616",
    b"007",
    b" blanks \r\n",
    b"\0",
    b"a\0b",
    b"\xff\xfe not utf-8",
    "Größe ☃ 😀".encode(),
    bytes(range(256)),
    b"x" * 100_000,
)
#: Names that are text, and look alike to services that build keys or queries of them.
HOSTILE_NAMES = (
    "plain",
    "Plain",
    "plain ",
    "a:b",
    "a/b",
    "a.b",
    "$a",
    "quote'\";--",
    "new\nline",
    "nul\0id",
    "%_*?[x]{y}",
    "Größe ☃ 😀",
    "Gro\u0308ße ☃ 😀",  # the same to the eye as the one before, and another text
    " plain",
    "plain\t",
    "pl\u200bain",
    "plain\0",
    "plain\0x",
    "\ufb01n",
    "fin",
    "\u017ft",
    "st",
    "ST",
    "1",
    "01",
    "1.0",
    "1e0",
    "+1",
    " 1",
    "x" * 300,
    "x" * 299 + "y",
    "ü" * 300,
    "ü" * 299 + "y",
    "x" * 1_100,
    "x" * 1_099 + "y",
)


def payloads_up_to(largest: int | None) -> list[bytes]:
    """The `PAYLOADS`, cut to what a backend declares as the largest value."""
    return list(dict.fromkeys(payload[:largest] for payload in PAYLOADS))


def transition(task_id: str = "t", state: State = State.SUCCESS, at: float = 1.0, **fields: Any) -> Transition:
    """A transition."""
    return Transition(task_id=task_id, state=state, at=at, **fields)


def start(task_id: str = "t", run: str = "r", lease: float | None = LONG, **fields: Any) -> Transition:
    """A start by a run."""
    return transition(task_id, State.STARTED, run=run, lease=lease, **fields)


def record(backend: Backend, *transitions: Transition) -> list[Outcome]:
    """Record a batch."""
    return list(backend.record(transitions))


def granted(backend: Backend, *transitions: Transition) -> list[bool]:
    """Record a batch; for each, whether it was granted."""
    return [outcome.applied for outcome in backend.record(transitions)]


def read(backend: Backend, task_id: str = "t") -> TaskRecord | None:
    """One record."""
    (found,) = backend.read([task_id])
    return found


def known(backend: Backend, task_id: str = "t") -> bool:
    """Whether there is a record."""
    return read(backend, task_id) is not None


def pages(backend: Backend, limit: int, states: AbstractSet[State] = UNFINISHED) -> Iterator[TaskPage]:
    """The pages of tasks in these states, one after the other."""
    page = backend.list_tasks(states, limit=limit)
    yield page
    while page.cursor is not None:
        page = backend.list_tasks(states, limit=limit, cursor=page.cursor)
        yield page


def listed(backend: Backend, limit: int = 100, states: AbstractSet[State] = UNFINISHED) -> list[TaskRecord]:
    """All tasks in these states, each once, by pages of ``limit``; sorted by id."""
    found = {record.task_id: record for page in pages(backend, limit, states) for record in page.records}
    return [found[task_id] for task_id in sorted(found)]


def listed_ids(backend: Backend, limit: int = 100, states: AbstractSet[State] = UNFINISHED) -> list[str]:
    """The ids of all tasks in these states, sorted."""
    return [found.task_id for found in listed(backend, limit, states)]


def refused(backend: Backend, asked: Transition) -> bool:
    """Ask for one transition; whether it was refused."""
    return granted(backend, asked) == [False]


def renewed(backend: Backend, task_id: str = "t", run: str = "r", seconds: float = LONG) -> bool:
    """Renew one lease; whether it is held."""
    (renewal,) = backend.renew([RunLease(task_id=task_id, run=run, seconds=seconds)])
    return renewal.held


def open_group(backend: Backend, size: int, group_id: str = "g", **fields: Any) -> None:
    """Open one group."""
    backend.open_groups([Group(group_id=group_id, size=size, **fields)])


def done(index: int, payload: bytes = b"p", group_id: str = "g", *, failed: bool = False) -> Completion:
    """A member that has ended."""
    return Completion(member=Member(group_id, index), payload=payload, failed=failed)


def progress(backend: Backend, completions: Iterable[Completion]) -> list[tuple[int, int, bool] | None]:
    """Complete members; of each group its size, how many are done, and whether it has failed."""
    return [
        None if each is None else (each.size, each.done, each.failed) for each in backend.complete(list(completions))
    ]


def counts(backend: Backend) -> dict[str, int]:
    """How much is kept."""
    return dict(backend.counts())
