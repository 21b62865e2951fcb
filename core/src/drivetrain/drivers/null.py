"""``null://``: a backend without memory, for work whose outcome nobody asks for.

Transitions are granted and forgotten: nothing is known of any task, so results, waiting, groups, locks and bodies that
are too large for the broker are not to be had. Where forgetting would lose something, `NotSupported` is raised.
"""

# Arguments have the names of the contract, used or not.
# ruff: noqa: ARG001, ARG002

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivetrain.contract import (
    Backend,
    BackendCapabilities,
    Completion,
    ConfigurationError,
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
    TaskPage,
    TaskRecord,
    Transition,
    hookimpl,
    read_options,
    redact,
)

__all__ = ["NullBackend", "make_backend"]


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of ``null://``.

    Raises:
        ConfigurationError: the URL says more than its scheme.
    """
    parts = DriverUrl.parse(url)
    _, faults = read_options(parts.options, {})
    if parts.netloc or parts.path.strip("/"):
        faults.append("it names a place, and null:// keeps nothing anywhere")
    if faults:
        raise ConfigurationError(f"{redact(url)} is no URL of the null driver", faults)
    return NullBackend()


def _refusal(what: str) -> NotSupported:
    return NotSupported(f"the backend null:// keeps nothing, so it cannot {what}; configure a backend that stores")


class NullBackend:
    """A backend that remembers nothing; see `drivetrain.contract.Backend`.

    Reading answers that nothing is known, which is so. Writing is refused only where somebody counts on reading it.
    """

    capabilities: BackendCapabilities = BackendCapabilities(
        durability=Durability.NONE, stores=False, shared=False, expiry_resolution_seconds=0.0
    )

    def ping(self) -> None:
        """See `Backend.ping`."""

    def record(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """Grant everything, as if each were the first that is heard of its task."""
        return [Outcome(applied=True, before=None) for _ in transitions]

    def read(self, task_ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """Nothing is known of any."""
        return [None] * len(task_ids)

    def wait(self, task_ids: Sequence[str], *, timeout_seconds: float) -> Mapping[str, TaskRecord | None]:
        """Refuse.

        Raises:
            NotSupported: always, unless there is nothing to wait for.
        """
        if task_ids:
            raise _refusal("tell when a task has ended")
        return {}

    def renew(self, leases: Sequence[RunLease]) -> Sequence[Renewal]:
        """Every run goes on: nobody can have taken its task over in here."""
        return [Renewal(held=True, state=None) for _ in leases]

    def shorten_retention(self, task_ids: Sequence[str], *, retention_seconds: float) -> None:
        """Nothing is kept any longer than that."""

    def forget(self, task_ids: Sequence[str]) -> None:
        """It is forgotten."""

    def unfinished(self, *, limit: int, cursor: str | None = None) -> TaskPage:
        """None is listed."""
        return TaskPage()

    def open_groups(self, groups: Sequence[Group]) -> None:
        """Refuse.

        Raises:
            NotSupported: always, unless there is nothing to open.
        """
        if groups:
            raise _refusal("keep a group or a chord")

    def complete(self, completions: Sequence[Completion]) -> Sequence[GroupProgress | None]:
        """Refuse: the group that waits for this member was opened in another backend.

        Raises:
            NotSupported: always, unless there is nothing to complete.
        """
        if completions:
            raise _refusal("count the members of a group")
        return []

    def read_groups(self, group_ids: Sequence[str]) -> Sequence[GroupRecord | None]:
        """Nothing is known of any."""
        return [None] * len(group_ids)

    def read_members(self, group_id: str) -> Sequence[bytes | None]:
        """Nothing is known of any."""
        return []

    def store_bodies(self, bodies: Mapping[str, bytes]) -> None:
        """Refuse: a message without its body is lost.

        Raises:
            NotSupported: always, unless there is nothing to store.
        """
        if bodies:
            raise _refusal("keep a message that is too large for the broker")

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """There are none."""
        return [None] * len(keys)

    def drop_bodies(self, keys: Sequence[str]) -> None:
        """There are none."""

    def acquire_lock(self, name: str, *, seconds: float) -> int | None:
        """Refuse.

        Raises:
            NotSupported: always.
        """
        raise _refusal(f"hold the lock {name!r}")

    def renew_lock(self, name: str, token: int, *, seconds: float) -> bool:
        """No token holds any lock."""
        return False

    def release_lock(self, name: str, token: int) -> bool:
        """No token holds any lock."""
        return False

    def sweep(self) -> int:
        """There is nothing to drop."""
        return 0

    def counts(self) -> Mapping[str, int]:
        """Nothing is kept."""
        return dict.fromkeys(("tasks", "groups", "members", "bodies", "locks"), 0)

    def close(self) -> None:
        """See `Backend.close`."""
