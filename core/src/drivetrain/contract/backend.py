"""The contract of a backend: it stores the records of tasks, groups, large bodies and versioned values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, runtime_checkable

from msgspec import Struct

from drivetrain.contract.capabilities import BackendCapabilities
from drivetrain.contract.states import GroupProgress, Member, Outcome, State, TaskRecord, Transition
from drivetrain.contract.versioned_values import VersionedValues

__all__ = ["Backend", "Completion", "Group", "GroupRecord", "Renewal", "RunLease", "TaskPage"]


class RunLease(Struct, frozen=True, kw_only=True):
    """A renewal of a run's lease on its task.

    Attributes:
        task_id: the id of the task.
        run: the run that asks.
        seconds: how long the lease lasts from now, by the backend's clock; more than 0.
    """

    task_id: str
    run: str
    seconds: float


class Renewal(Struct, frozen=True, kw_only=True):
    """What became of a renewal.

    Attributes:
        held: whether the run still holds the task. A lease that has ended unnoticed is renewed too.
        state: the state of the task; None: the task is unknown. CANCELLED makes a run stop.
    """

    held: bool
    state: State | None


class Group(Struct, frozen=True, kw_only=True):
    """A group to open.

    Attributes:
        group_id: the id of the group.
        size: how many members it has, 0 or more.
        collect: whether failed members are results like others; otherwise a failed member fails the group.
        continuation: what core does when the group is complete, encoded. Opaque to the backend.
    """

    group_id: str
    size: int
    collect: bool = False
    continuation: bytes = b""


class GroupRecord(Struct, frozen=True, kw_only=True):
    """A group and its progress, without the payloads of its members.

    Attributes:
        group_id, size, collect, continuation: see `Group`.
        done, failed: see `GroupProgress`.
    """

    group_id: str
    size: int
    collect: bool
    continuation: bytes
    done: int
    failed: bool


class Completion(Struct, frozen=True, kw_only=True):
    """The end of a group's member.

    Attributes:
        member: the member.
        payload: its encoded result or failure.
        failed: whether it ended without success.
    """

    member: Member
    payload: bytes
    failed: bool = False


class TaskPage(Struct, frozen=True, kw_only=True):
    """A page of a list of records.

    Attributes:
        records: the records. Any page may have fewer than the limit, or none.
        cursor: where the next page begins, a text that only the driver reads; None: this is the last page.
    """

    records: Sequence[TaskRecord] = ()
    cursor: str | None = None


@runtime_checkable
class Backend(VersionedValues, Protocol):
    """Stores records of tasks, groups, bodies and versioned values.

    Batches: every method takes a batch. Each entry is atomic by itself; the batch need not be. The entries take effect
    in order: a record of retention 0 is gone for the next entry of its batch. Every write may be repeated without harm:
    the same call again changes nothing and returns what is stored.

    Threads, forks, connecting and errors: as for `drivetrain.contract.Broker`, except that all methods may overlap.

    Clock: leases and expiry count by one clock, the backend's: that of its service, or that of the machines
    where the service has none. The times in transitions are never compared with it.

    Expiry: only records of terminal tasks expire, and values that have an end. What has expired is gone for every
    method, swept or not, at most `expiry_resolution_seconds` late. When a record is forgotten or expires, the group of
    the same id goes too. Nothing else expires.
    """

    @property
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do. Constant, and needs no connection."""
        ...

    def ping(self) -> None:
        """Return if the service can be used; otherwise raise the reason.

        Raises:
            ServiceError: it cannot.
        """
        ...

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """Change records as `drivetrain.contract.apply` says.

        A granted terminal transition with a `member` also completes that member, as `complete` does: with the payload
        of the transition, failed unless its state is SUCCESS. The two need not be one atomic step.

        Returns:
            The outcome of each transition, in order.

        Raises:
            TooLarge: nothing was recorded; a value is beyond `largest_value_bytes`.
        """
        ...

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """The records in the order of ``task_ids``; None for an unknown task."""
        ...

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """Wait until at least one task is terminal or gone, at most ``timeout_seconds``.

        Core calls it only where `capabilities.notifies` is declared. It never misses a state that was set before the
        call. Core calls it for ten thousand tasks too, and again whenever one of them has ended: keep nothing of a call
        that has returned, and do not delay other calls for long.

        Returns:
            The tasks that are terminal or gone; none after the time-out. The value is the record, or None if the record
            is gone or was not read; core reads it then.
        """
        ...

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """Renew the leases of runs. A run that no longer holds its task changes nothing."""
        ...

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """Let terminal records expire ``retention_seconds`` from now, if they would otherwise expire later or never."""
        ...

    def forget(self, task_ids: Sequence[str]) -> None:
        """Drop records in any state, and the groups of the same ids."""
        ...

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """A page of the records in these states, as far as `capabilities.lists_tasks` covers them.

        A record that is in one of the states from the first page to the last, and does not end meanwhile, is on at
        least one page; it may be on several. Tasks that have ended come newest first where `lists_newest_first` is
        declared; otherwise the driver chooses the order.

        A call does a bounded amount of work, however many records there are: a page may have few records, or none,
        although more pages follow.

        Args:
            states: the states; those that `lists_tasks` does not cover are ignored.
            limit: how many records the page may hold; 1 or more.
            cursor: `TaskPage.cursor` of the previous page of the same states; None: the first page.
        """
        ...

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        """Open groups. A group that is open already stays as it is."""
        ...

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """Complete members, by identity: the first completion of a member counts, a repetition changes nothing.

        Returns:
            The progress of each group afterwards, for repetitions too; None for an unknown group.
        """
        ...

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """The groups in the order of ``group_ids``; None for an unknown group."""
        ...

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """The payloads of a group's members by index; None for one that has not ended. Empty for an unknown group."""
        ...

    # Bodies that are too large for the broker

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """Store bodies by key until `drop_bodies`; they do not expire.

        Raises:
            TooLarge: nothing was stored; a body is beyond `largest_value_bytes`.
        """
        ...

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The bodies in the order of ``keys``; None for an unknown key."""
        ...

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """Drop bodies. Unknown keys are ignored."""
        ...

    # Upkeep

    def sweep(self) -> int:
        """Drop expired records and values. Returns the number of records. Workers call it now and then.

        A call does a bounded amount of work.
        """
        ...

    def counts(self) -> Mapping[str, int]:
        """The number of ``tasks``, ``groups``, ``members``, ``bodies`` and ``values``, without what has expired.

        For operators and tests; it may be slow.
        """
        ...

    def close(self) -> None:
        """Close connections. May be called twice, before the first use, and while another thread waits inside a call.

        That thread then returns.
        """
        ...
