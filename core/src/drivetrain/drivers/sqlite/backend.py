"""The backend of ``sqlite://``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from drivetrain.contract import (
    BackendCapabilities,
    Clock,
    Completion,
    Group,
    GroupProgress,
    GroupRecord,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    TaskReach,
    TaskRecord,
    Transition,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    WaitLoop,
    check_size,
    check_transition_sizes,
    check_value_sizes,
    chunks,
    wait_for_values,
)
from drivetrain.drivers.sqlite import groups as group_rows
from drivetrain.drivers.sqlite import records, values
from drivetrain.drivers.sqlite.connection import Database
from drivetrain.drivers.sqlite.errors import LARGEST_VALUE_BYTES
from drivetrain.drivers.sqlite.file_notify import FileNotifier
from drivetrain.drivers.sqlite.options import Options
from drivetrain.drivers.sqlite.waiting import Watcher

__all__ = ["SqliteBackend"]

#: How many records, and how many values, one `SqliteBackend.sweep` drops at most, and how many records in one
#: transaction.
_SWEEP_LIMIT = 10_000
_SWEEP_CHUNK = 1_000

#: How many tasks `SqliteBackend.wait` reads at once. Between two chunks another thread may read.
_WAIT_CHUNK = 512
#: The pause between two chunks, in real time. Without it the thread would take the lock again before any other one.
_YIELD_SECONDS = 1e-4
#: The pause between two reads of all tasks, for each task, in real time. To read 10,000 tasks takes 20 ms, and every
#: commit of any process causes one.
_PAUSE_SECONDS_PER_TASK = 1e-5
#: The longest pauses between two looks for changed values, without and with notifications.
_VALUE_IDLE_SECONDS = (0.25, 0.5)

_UNFINISHED_OF = "SELECT id FROM @tasks WHERE expires IS NULL AND id IN (…)"
_RENEW = "UPDATE @tasks SET leased_until = ? WHERE id = ? AND state = 'STARTED' AND run = ?"
_RUNS = "SELECT id, state, run FROM @tasks WHERE (expires IS NULL OR expires > ?) AND id IN (…)"
_SHORTEN = "UPDATE @tasks SET expires = ? WHERE expires > ? AND expires > ? AND id IN (…)"
_EXPIRED = "SELECT id FROM @tasks WHERE expires <= ? ORDER BY expires LIMIT ?"

_STORE_BODY = "INSERT INTO @bodies (key, body) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body"
_LOAD_BODIES = "SELECT key, body FROM @bodies WHERE key IN (…)"
_DROP_BODIES = "DELETE FROM @bodies WHERE key IN (…)"

_COUNTS = """
WITH gone (id) AS (SELECT id FROM @tasks WHERE expires <= :now),
    gone_groups (number) AS (SELECT number FROM @groups WHERE id IN gone)
SELECT
    (SELECT count(*) FROM @tasks) - (SELECT count(*) FROM gone),
    (SELECT count(*) FROM @groups) - (SELECT count(*) FROM gone_groups),
    (SELECT count(*) FROM @members) - (SELECT count(*) FROM @members WHERE grp IN gone_groups),
    (SELECT count(*) FROM @bodies),
    (SELECT count(*) FROM @values WHERE ends IS NULL OR ends > :now)
"""


class SqliteBackend:
    """A backend in a file; see `drivetrain.contract.Backend`.

    Leases and expiry follow the clock of the machine, which all processes of the file share.

    Args:
        options: the options of its URL.
        clock: the clock by which leases end, and records and values expire.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self.capabilities = BackendCapabilities(
            durability=options.durability,
            notifies=True,
            largest_value_bytes=LARGEST_VALUE_BYTES,
            expiry_resolution_seconds=0.0,
            lists_tasks=TaskReach.ALL,
            lists_newest_first=True,
            store=options.store,
        )
        self._database = Database(options)
        self._watcher = Watcher(self._database, clock, FileNotifier(options.sibling("finished")))
        # Not that of the tasks: the end of a task wakes no wait for values.
        notifier = FileNotifier(options.sibling("values"))
        self._value_watcher = Watcher(_LastVersion(self._database), clock, notifier, _VALUE_IDLE_SECONDS)
        self._clock = clock
        self._waits = WaitLoop(clock)

    def ping(self) -> None:
        """See `Backend.ping`."""
        self.load_bodies([""])

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """See `Backend.record`."""
        if not transitions:
            return []
        check_transition_sizes(transitions, LARGEST_VALUE_BYTES)
        with self._database.write() as session:
            outcomes = records.record(session, transitions, self._clock.now())
        if any(transition.state.terminal for transition in transitions):
            self._watcher.announce()
        return outcomes

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """See `Backend.read`."""
        with self._database.read() as session:
            return records.read(session, task_ids, self._clock.now())

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """See `Backend.wait`. Returns no records."""
        if not task_ids:
            return {}
        mark = 0

        def attempt() -> list[str]:
            nonlocal mark
            mark = self._watcher.mark()
            return self._ended(task_ids)

        def pause(seconds: float) -> None:
            self._watcher.wait(mark, seconds)
            if len(task_ids) > _WAIT_CHUNK:
                time.sleep(min(seconds, len(task_ids) * _PAUSE_SECONDS_PER_TASK))

        ended = self._waits.run(attempt, pause, timeout_seconds=timeout_seconds, when_closed=self._database.close)
        return dict.fromkeys(ended)

    def _ended(self, task_ids: Sequence[str]) -> list[str]:
        """The tasks that are terminal or gone. Expiry need not be checked: only terminal records have one."""
        running: set[str] = set()
        for number, chunk in enumerate(chunks(task_ids, _WAIT_CHUNK)):
            if number:
                time.sleep(_YIELD_SECONDS)
            with self._database.read() as session:
                running.update(task_id for (task_id,) in session.rows_in(_UNFINISHED_OF, chunk))
        return [task_id for task_id in task_ids if task_id not in running]

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """See `Backend.renew`."""
        if not leases:
            return []
        with self._database.write() as session:
            now = self._clock.now()
            session.execute_many(_RENEW, [(now + lease.seconds, lease.task_id, lease.run) for lease in leases])
            ids = [lease.task_id for lease in leases]
            known = {row[0]: (State(row[1]), row[2]) for row in session.rows_in(_RUNS, ids, now)}
        return [_renewal(lease, *known.get(lease.task_id, (None, None))) for lease in leases]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """See `Backend.shorten_retention`."""
        if task_ids:
            with self._database.write() as session:
                now = self._clock.now()
                expires = now + retention_seconds
                session.change_in(_SHORTEN, task_ids, expires, expires, now)

    def forget(self, task_ids: Sequence[str]) -> None:
        """See `Backend.forget`."""
        if task_ids:
            with self._database.write() as session:
                records.drop(session, task_ids)
            self._watcher.announce()

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """See `Backend.list_tasks`; in every state newest first, by the first record."""
        with self._database.read() as session:
            return records.list_page(session, states, limit, cursor, self._clock.now())

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        """See `Backend.open_groups`."""
        for group in groups:
            check_size("a continuation", group.continuation, LARGEST_VALUE_BYTES)
        if groups:
            with self._database.write() as session:
                records.drop_expired(session, [group.group_id for group in groups], self._clock.now())
                group_rows.open_groups(session, groups)

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """See `Backend.complete`."""
        if not completions:
            return []
        for completion in completions:
            check_size("a payload", completion.payload, LARGEST_VALUE_BYTES)
        with self._database.write() as session:
            return group_rows.complete(session, completions, self._clock.now())

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """See `Backend.read_groups`."""
        with self._database.read() as session:
            return group_rows.read(session, group_ids, self._clock.now())

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """See `Backend.read_members`. Empty for an unknown group."""
        with self._database.read() as session:
            return group_rows.read_members(session, group_id, self._clock.now())

    # Bodies

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """See `Backend.store_bodies`."""
        for body in bodies.values():
            check_size("a body", body, LARGEST_VALUE_BYTES)
        if bodies:
            with self._database.write() as session:
                session.execute_many(_STORE_BODY, bodies.items())

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `Backend.load_bodies`."""
        with self._database.read() as session:
            found: dict[str, bytes] = dict(session.rows_in(_LOAD_BODIES, keys))
        return [found.get(key) for key in keys]

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """See `Backend.drop_bodies`."""
        if keys:
            with self._database.write() as session:
                session.change_in(_DROP_BODIES, keys)

    # Versioned values

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """See `Backend.read_values`."""
        with self._database.read() as session:
            return values.read(session, keys, self._clock.now())

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """See `Backend.write_values`."""
        if not writes:
            return []
        check_value_sizes(writes, LARGEST_VALUE_BYTES)
        with self._database.write() as session:
            outcomes = values.write(session, writes, self._clock.now())
        if any(outcome.written for outcome in outcomes):
            self._value_watcher.announce()
        return outcomes

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """See `Backend.list_values`; by the bytes of the keys."""
        with self._database.read() as session:
            return values.list_page(session, prefix, limit, cursor, self._clock.now())

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """See `Backend.wait_values`."""
        mark = 0

        def set_mark() -> None:
            nonlocal mark
            mark = self._value_watcher.mark()

        return wait_for_values(
            self._waits,
            self,
            lambda seconds: self._value_watcher.wait(mark, seconds),
            seen,
            prefix,
            timeout_seconds=timeout_seconds,
            before_look=set_mark,
            when_closed=self._database.close,
        )

    # Upkeep

    def sweep(self) -> int:
        """See `Backend.sweep`."""
        with self._database.write() as session:
            values.drop_expired(session, self._clock.now(), _SWEEP_LIMIT)
        dropped = 0
        while dropped < _SWEEP_LIMIT:
            some = self._sweep_some()
            dropped += some
            if some < _SWEEP_CHUNK:
                break
        return dropped

    def _sweep_some(self) -> int:
        with self._database.write() as session:
            rows = session.execute(_EXPIRED, (self._clock.now(), _SWEEP_CHUNK)).fetchall()
            return records.drop(session, [task_id for (task_id,) in rows])

    def counts(self) -> Mapping[str, int]:
        """See `Backend.counts`."""
        with self._database.read() as session:
            counts = session.execute(_COUNTS, {"now": self._clock.now()}).fetchone()
        return dict(zip(("tasks", "groups", "members", "bodies", "values"), counts, strict=True))

    def close(self) -> None:
        """See `Backend.close`. The object may be used again afterwards."""
        self._waits.close()
        self._watcher.notify()
        self._value_watcher.notify()
        self._database.close()


class _LastVersion:
    """What changes whenever a value is written or removed; see `Watcher`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self, *, connect: bool) -> int | None:
        if not connect and not self._database.reads:
            return None
        with self._database.read() as session:
            return values.last_version(session)


def _renewal(lease: RunLease, state: State | None, run: str | None) -> Renewal:
    return Renewal(held=state is State.STARTED and run == lease.run, state=state)
