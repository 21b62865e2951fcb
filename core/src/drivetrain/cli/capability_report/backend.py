"""What the capabilities of a backend mean. Pure."""

from __future__ import annotations

from drivetrain.cli.capability_report.statements import (
    Statement,
    Statements,
    by_section,
    crash,
    native,
    refused,
    supplied,
    unknown_attributes,
    unknown_value,
)
from drivetrain.cli.capability_report.units import in_bytes, in_seconds
from drivetrain.contract import BackendCapabilities, Durability, TaskReach

__all__ = ["of_backend"]


def of_backend(declared: BackendCapabilities) -> list[Statement]:
    """What a backend's capabilities mean, by section."""
    others = unknown_attributes(declared, BackendCapabilities)
    if not declared.stores:
        return by_section(_nothing_stored(), others)
    return by_section(_storage(declared), _results(declared), _backend_crash(declared), others)


def _nothing_stored() -> Statements:
    yield refused("Nothing is stored: there are no results and no states; groups, chords and locks are refused.")
    yield refused("A task that is delivered twice may run twice.")
    yield crash("A task that ran when its worker died runs again; so may a task that had just ended.")


def _storage(declared: BackendCapabilities) -> Statements:
    if declared.shared:
        yield native("Any number of processes share its results, groups and locks.")
    else:
        yield refused("Its results live in one process: other processes do not see them.")
    if declared.expiry_resolution_seconds:
        late = in_seconds(declared.expiry_resolution_seconds)
        yield native(f"Results are deleted when their retention ends, at most {late} late.")
    else:
        yield native("Results are deleted as soon as their retention ends.")
    yield _listing(declared)


def _listing(declared: BackendCapabilities) -> Statement:
    if not declared.lists_tasks:
        return refused("Tasks cannot be listed: look them up by their ids.")
    if declared.lists_tasks not in _LISTED:
        return refused(unknown_value("reach of lists", declared.lists_tasks, "lists of tasks"))
    order = ", those that have ended newest first" if declared.lists_newest_first else ""
    return native(f"{_LISTED[declared.lists_tasks]} can be listed{order}.")


_LISTED = {
    TaskReach.UNFINISHED: "Tasks that have not ended",
    TaskReach.FAILED: "Tasks that have not ended, and those that ended without success,",
    TaskReach.ALL: "All tasks",
}


def _results(declared: BackendCapabilities) -> Statements:
    if declared.notifies:
        yield native("A waiting caller is notified when the result is there.")
    else:
        yield supplied("A waiting caller polls for the result, with growing pauses.")
    if declared.largest_value_bytes is None:
        yield native("Results of any size.")
        return
    largest = in_bytes(declared.largest_value_bytes)
    yield native(f"Results of up to {largest}.")
    yield refused(f"A result of more than {largest} makes its task fail, with an error that says so.")


def _backend_crash(declared: BackendCapabilities) -> Statements:
    yield crash(
        _DURABLE_RECORDS.get(declared.durability) or unknown_value("durability", declared.durability, "results")
    )


_DURABLE_RECORDS = {
    Durability.NONE: "Results, groups and locks end with the process that holds them: all of them are lost.",
    Durability.PROCESS: (
        "No state or result is lost when a worker or a sender is killed. If the service is killed or the machine loses "
        "power, states and results that were not on disk yet may be lost."
    ),
    Durability.POWER: "No recorded state or result is lost, even when the power fails.",
    Durability.CACHE: (
        "The service may drop states, results and groups when it runs short of room, and loses all when it restarts. "
        "A caller that waits for a dropped result gets `ResultLost`; a task whose state was dropped may run again."
    ),
}
