"""The contract of a backend: it remembers what became of tasks, keeps groups and locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from drivetrain.contract.capabilities import BackendCapabilities
from drivetrain.contract.states import GroupProgress, Member, Outcome, State, TaskRecord, Transition

__all__ = ["Backend", "Completion", "Group", "GroupRecord", "Locks", "Renewal", "RunLease", "TaskPage"]


class RunLease(Struct, frozen=True, kw_only=True):
    """A run's hold on its task, to be renewed."""

    task_id: str
    run: str
    #: How long from now, in seconds.
    seconds: float


class Renewal(Struct, frozen=True, kw_only=True):
    """What became of a renewal."""

    #: Whether the run still holds the task.
    held: bool
    #: The task's state; None when nothing is known of it. CANCELLED tells a run to stop.
    state: State | None


class Group(Struct, frozen=True, kw_only=True):
    """A group to open."""

    group_id: str
    size: int
    #: Whether failed members take their place in the results, instead of failing the group.
    collect: bool = False
    #: What goes on when the group is complete, encoded. Opaque to the backend.
    continuation: bytes = b""


class GroupRecord(Struct, frozen=True, kw_only=True):
    """What a backend knows of a group, its members' payloads apart."""

    group_id: str
    size: int
    collect: bool
    continuation: bytes
    done: int
    failed: bool


class Completion(Struct, frozen=True, kw_only=True):
    """A member that has ended."""

    member: Member
    payload: bytes
    #: Whether it ended without success.
    failed: bool = False


class TaskPage(Struct, frozen=True, kw_only=True):
    """A part of a list of records."""

    #: May be fewer than were asked for, or none, on any page.
    records: Sequence[TaskRecord] = ()
    #: Where the next page begins: opaque text of the driver. None: this page is the last.
    cursor: str | None = None


class Locks(Protocol):
    """Named locks with an end and a fencing token: a number that grows with every new holder of the name."""

    def acquire_lock(self, name: str, *, seconds: float) -> int | None:
        """Take the lock for ``seconds``; its token, or None while somebody holds it."""
        ...

    def renew_lock(self, name: str, token: int, *, seconds: float) -> bool:
        """Hold the lock for ``seconds`` from now; False, and nothing changes, if ``token`` does not hold it."""
        ...

    def release_lock(self, name: str, token: int) -> bool:
        """Let the lock go; False, and nothing changes, if ``token`` does not hold it. Tokens still never repeat."""
        ...


@runtime_checkable
class Backend(Locks, Protocol):
    """Remembers. Every method takes a batch; each entry of a batch is atomic by itself, the batch need not be.

    Entries of one batch take effect in order. Every write may be repeated without harm: the same call again changes
    nothing and answers from what is there.

    Threads, forks, connecting and errors: as for `drivetrain.contract.Broker`; here all methods may overlap.

    Retention: only records of terminal tasks expire. A record whose time has come is gone for every method, swept or
    not, at most `expiry_resolution_seconds` late. Forgetting or expiring a record takes the group of the same id with
    it. Nothing else ever goes by itself.
    """

    @property
    def capabilities(self) -> BackendCapabilities:
        """What this backend can do. Constant, and needs no connection."""
        ...

    def ping(self) -> None:
        """Return if the service can be used; raise what stands in the way."""
        ...

    # Tasks

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """Change records as `drivetrain.contract.states.apply` says; for each, whether it did and what was there.

        A granted transition with a `member` also completes that member (with the transition's payload, failed unless
        the state is SUCCESS), as `complete` does; the two need not be one atomic step.
        """
        ...

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """The records, in the order asked for; None where nothing is known."""
        ...

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """Wait until at least one task is terminal or gone; those that are. Empty when the time ran out.

        With each goes its record, if it is at hand; None if it is gone, or would have to be read, which core does then.

        Only called where `capabilities.notifies` is declared. Never misses a state that was set before it was called.
        Core calls it for ten thousand tasks too, and again whenever one of them has ended: keep nothing of a call that
        has returned, and do not keep other calls waiting for long.
        """
        ...

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """Prolong the leases of runs; a run that no longer holds its task gets nothing."""
        ...

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """Let terminal records expire ``retention_seconds`` from now, where that is earlier than now planned."""
        ...

    def forget(self, task_ids: Sequence[str]) -> None:
        """Drop records, whatever their state, and the groups of the same ids."""
        ...

    def unfinished(self, *, limit: int, cursor: str | None = None) -> TaskPage:
        """A page of the records that are not terminal; empty where `lists_tasks` is not declared.

        Each record that is unfinished from the first page to the last is on one of them, at least once. In which order
        is up to the driver, and so is what of the others is on a page. A call does a bounded amount of work.

        Args:
            limit: how many records the page may hold; 1 or more.
            cursor: `TaskPage.cursor` of the page before; None: the first page.
        """
        ...

    # Groups

    def open_groups(self, groups: Sequence[Group]) -> None:
        """Open groups. One that is already open stays as it is."""
        ...

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """Mark members complete, by identity: the first completion of a member stands, a repetition changes nothing.

        Returns:
            How each group stands afterwards, repetitions included; None where the group is not known.
        """
        ...

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """The groups, in the order asked for; None where nothing is known."""
        ...

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """The payloads of all members in the order of the group; None for a member that is not complete."""
        ...

    # Bodies that are too large for the broker

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """Keep bodies by key until `drop_bodies`; they do not expire."""
        ...

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The bodies, in the order asked for; None where there is none."""
        ...

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """Drop bodies; unknown keys do no harm."""
        ...

    # Upkeep

    def sweep(self) -> int:
        """Drop what has expired; how many records. Called by workers every so often; bounded work."""
        ...

    def counts(self) -> Mapping[str, int]:
        """How many of each kind are kept: ``tasks``, ``groups``, ``members``, ``bodies``, ``locks`` (held ones).

        For operators and tests; may be slow.
        """
        ...

    def close(self) -> None:
        """Let go of connections. May be called twice, before first use, and while another thread is inside `wait`."""
        ...
