"""``null://``: a backend that stores nothing, for tasks whose results no one reads.

It grants every transition and forgets it. So it has no results, no waiting, no groups, no versioned values, and no
bodies that are too large for the broker. A call that would lose something raises `NotSupported`.
"""

# The contract names the arguments, whether a method uses them or not.
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from drivetrain.contract import (
    Backend,
    BackendCapabilities,
    Completion,
    DriverContext,
    DriverUrl,
    Durability,
    Group,
    GroupProgress,
    GroupRecord,
    NotSupported,
    Outcome,
    Renewal,
    RunLease,
    State,
    TaskPage,
    TaskRecord,
    Transition,
    ValueOutcome,
    ValuePage,
    ValueWrite,
    VersionedValue,
    check_driver_options,
    hookimpl,
    raise_for_faults,
    read_options,
)

__all__ = ["NullBackend", "make_backend"]


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of ``null://``.

    Raises:
        ConfigurationError: the URL says more than its scheme, or `DriverContext.options` is not empty.
    """
    check_driver_options("null", context.options)
    parts = DriverUrl.parse(url)
    _, faults = read_options(parts.options, {})
    if parts.netloc or parts.path.strip("/"):
        faults.append("it names a host or a path; write null://, which stores nothing anywhere")
    raise_for_faults("null", parts, faults)
    return NullBackend()


def _refusal(what: str) -> NotSupported:
    return NotSupported(f"the backend null:// stores nothing, so it cannot {what}; configure another backend")


class NullBackend:
    """A backend that stores nothing; see `drivetrain.contract.Backend`.

    A read answers that everything is unknown. A write is refused only where a caller relies on reading it later.
    """

    capabilities: BackendCapabilities = BackendCapabilities(
        durability=Durability.NONE, stores=False, shared=False, expiry_resolution_seconds=0.0
    )

    def ping(self) -> None:
        """See `Backend.ping`."""

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """Grant every transition, as if each were the first of its task."""
        return [Outcome(applied=True, before=None) for _ in transitions]

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """None for each: no record exists."""
        return [None] * len(task_ids)

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """Refuse.

        Raises:
            NotSupported: always, unless there is nothing to wait for.
        """
        if task_ids:
            raise _refusal("report when a task has ended")
        return {}

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """Every run holds its task: no other run can have taken it over here."""
        return [Renewal(held=True, state=None) for _ in leases]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """Do nothing: no record exists."""

    def forget(self, task_ids: Sequence[str]) -> None:
        """Do nothing: no record exists."""

    def list_tasks(self, states: AbstractSet[State], *, limit: int, cursor: str | None = None) -> TaskPage:
        """An empty page."""
        return TaskPage()

    def open_groups(self, groups: Sequence[Group]) -> None:
        """Refuse.

        Raises:
            NotSupported: always, unless there is nothing to open.
        """
        if groups:
            raise _refusal("store a group or a chord")

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """Refuse: the group of this member was opened in another backend.

        Raises:
            NotSupported: always, unless there is nothing to complete.
        """
        if completions:
            raise _refusal("count the members of a group")
        return []

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """None for each: no group exists."""
        return [None] * len(group_ids)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """None for each: no member exists."""
        return []

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """Refuse: a message without its body is lost.

        Raises:
            NotSupported: always, unless there is nothing to store.
        """
        if bodies:
            raise _refusal("store a message that is too large for the broker")

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """There are none."""
        return [None] * len(keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """There are none."""

    def read_values(self, keys: Sequence[str]) -> Sequence[VersionedValue | None]:
        """Nothing is stored."""
        return [None] * len(keys)

    def write_values(self, writes: Sequence[ValueWrite]) -> Sequence[ValueOutcome]:
        """Refuse.

        Raises:
            NotSupported: always, unless there is nothing to write.
        """
        if writes:
            raise _refusal(f"store the value {writes[0].key!r}")
        return []

    def list_values(self, prefix: str, *, limit: int, cursor: str | None = None) -> ValuePage:
        """An empty page."""
        return ValuePage()

    def wait_values(
        self, seen: Mapping[str, int], *, prefix: str | None = None, timeout_seconds: float
    ) -> Sequence[str]:
        """Refuse.

        Raises:
            NotSupported: always, unless there is nothing to wait for.
        """
        if seen or prefix is not None:
            raise _refusal("report when a value has changed")
        return []

    def sweep(self) -> int:
        """Nothing expires."""
        return 0

    def counts(self) -> Mapping[str, int]:
        """Zero of each kind."""
        return dict.fromkeys(("tasks", "groups", "members", "bodies", "values"), 0)

    def close(self) -> None:
        """See `Backend.close`."""
