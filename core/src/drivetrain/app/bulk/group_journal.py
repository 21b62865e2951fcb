"""The journal of a failed group: what is needed to open it again, stored while that is being done.

A backend cannot take the completion of a member back. So a group is forgotten and opened again with the members that
have succeeded. A crash in between would lose their results; the journal holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from drivetrain.contract import SerializationError
from drivetrain.worker.runtime import Runtime

__all__ = ["FailedGroup", "GroupJournal"]


class FailedGroup(Struct, frozen=True, kw_only=True):
    """A failed group that is to be opened again.

    Attributes:
        group_id: its id.
        size: how many members it has.
        continuation: what follows it, encoded.
        succeeded: the payloads of the members that have succeeded, by index.
        causes: the ids of the tasks whose failures ended the other members, by the index of the member.
        workflow, parent: see `drivetrain.contract.TaskRecord`.
    """

    group_id: str
    size: int
    continuation: bytes
    succeeded: Mapping[int, bytes]
    causes: Mapping[int, str]
    workflow: str = ""
    parent: str = ""


class GroupJournal:
    """Stores failed groups as bodies of the backend. Thread-safe. All methods may raise ServiceError."""

    def __init__(self, runtime: Runtime) -> None:
        self._backend = runtime.backend

    def store(self, groups: Sequence[FailedGroup]) -> None:
        """Store groups until `drop`.

        Raises:
            TooLarge: a group is beyond what the backend stores in one value; nothing was stored.
        """
        if groups:
            self._backend.store_bodies({_key(one.group_id): msgspec.msgpack.encode(one) for one in groups})

    def load(self, group_id: str) -> FailedGroup | None:
        """A stored group; None: it is not stored.

        Raises:
            SerializationError: another version of drivetrain has stored it.
        """
        (body,) = self._backend.load_bodies([_key(group_id)])
        if body is None:
            return None
        try:
            return msgspec.msgpack.decode(body, type=FailedGroup)
        except msgspec.DecodeError as error:
            raise SerializationError(f"cannot read the journal of group {group_id}: {error}") from error

    def drop(self, group_ids: Sequence[str]) -> None:
        """Drop groups; unknown ones are ignored."""
        if group_ids:
            self._backend.drop_bodies([_key(group_id) for group_id in group_ids])


def _key(group_id: str) -> str:
    return f"retry/{group_id}"
