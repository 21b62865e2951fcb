"""The capability report: what the declared capabilities of drivers mean for users, in plain words. Pure.

``drivetrain describe`` prints it for an app, and the page on guarantees contains it for every driver.

Third-party drivers declare capabilities too. A value that this version of drivetrain does not know is shown as it is,
and promises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import attrs
from attrs import frozen

from drivetrain.contract import BackendCapabilities, BrokerCapabilities, Durability, Hold

__all__ = ["Section", "Statement", "of_backend", "of_broker", "of_pair"]

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class Section(StrEnum):
    """The section of a statement; its value is the heading."""

    NATIVE = "native"
    SUPPLIED = "supplied by core"
    REFUSED = "refused, or not available"
    DELAYS = "delays"
    CRASH = "what a crash can cost"


@frozen
class Statement:
    """One statement about a driver or a pair of drivers."""

    section: Section
    text: str


_Statements = Iterator[Statement]


def of_broker(declared: BrokerCapabilities) -> list[Statement]:
    """What a broker's capabilities mean, by section."""
    return _ordered(_queues(declared), _messages(declared), _delays(declared), _holds(declared), _admin(declared),
                    _broker_crash(declared), _unknown(declared, BrokerCapabilities))  # fmt: skip


def of_backend(declared: BackendCapabilities) -> list[Statement]:
    """What a backend's capabilities mean, by section."""
    unknown = _unknown(declared, BackendCapabilities)
    if not declared.stores:
        return _ordered(_nothing_stored(), unknown)
    return _ordered(_storage(declared), _results(declared), _backend_crash(declared), unknown)


def of_pair(broker: BrokerCapabilities, backend: BackendCapabilities) -> list[Statement]:
    """What follows from the pair, beyond the statements of each driver."""
    return _ordered(_sending(broker, backend), _large_bodies(broker, backend), _processes(broker, backend),
                    _running_again(broker, backend))  # fmt: skip


def _ordered(*groups: _Statements) -> list[Statement]:
    statements = [statement for statements in groups for statement in statements]
    return sorted(statements, key=lambda statement: list(Section).index(statement.section))


# Brokers


def _queues(declared: BrokerCapabilities) -> _Statements:
    if declared.shared:
        yield _native("Any number of processes share its queues.")
    else:
        yield _refused("Its queues live in one process: workers in other processes are refused.")
    if declared.ordered:
        yield _native("Messages of one queue and priority come in the order in which one sender published them.")
    else:
        yield _refused("Messages are not ordered: one may be delivered before another that was published earlier.")
    levels = declared.priority_levels
    if not _is_number(levels) or levels <= 1:
        yield _refused("Priorities are not supported: a task with one is refused when it is sent.")
        return
    yield _native(f"Priorities 0 to {levels - 1}, higher ones first.")
    yield _refused(f"A priority of {levels} or more is refused when a task is sent.")


def _messages(declared: BrokerCapabilities) -> _Statements:
    largest = declared.largest_message_bytes
    if largest is None:
        yield _native("Messages of any size.")
    else:
        yield _native(f"Messages of up to {_bytes(largest)}, headers included.")
    if declared.counts_deliveries:
        yield _native("Deliveries of each message are counted.")
    else:
        yield _supplied("Deliveries are not counted: how often a task was started is counted in the backend.")


def _delays(declared: BrokerCapabilities) -> _Statements:
    late = f"at most {_seconds(declared.delay_resolution_seconds)} late while the machine is idle, and never early"
    longest = declared.longest_delay_seconds
    yield Statement(Section.DELAYS, f"A delayed task is delivered {late}.")
    if longest is None:
        yield _native("Delays of any length.")
        return
    yield _native(f"Delays of up to {_seconds(longest)}.")
    yield _supplied(
        f"Longer delays: the message is delivered after {_seconds(longest)} at the latest and published again for "
        "the rest. That takes a worker that runs at that time; without one the task is late."
    )


def _holds(declared: BrokerCapabilities) -> _Statements:
    if declared.hold == Hold.LEASE:
        yield _native("A message is held for a time, which the worker extends while its task runs.")
    elif declared.hold == Hold.CONNECTION:
        yield _native("A message is held as long as the worker's connection lives.")
    if declared.longest_hold_seconds is not None:
        longest = _seconds(declared.longest_hold_seconds)
        yield _supplied(
            f"Tasks of more than {longest}: the broker delivers the message once more meanwhile, and the lease of the "
            "run, which is stored in the backend, prevents a second run."
        )
    if not declared.settles_late:
        yield _supplied(
            "When a hold has ended, its message cannot be settled, and is delivered again; a task that has ended does "
            "not run again."
        )


def _admin(declared: BrokerCapabilities) -> _Statements:
    if declared.lists_queues:
        yield _native("All queues that were ever used can be listed.")
    else:
        yield _supplied("The list of queues: those that the app's tasks and settings name.")
    if declared.peeks:
        yield _native("Ready and delayed messages can be listed.")
    else:
        yield _refused("Only the dead letters of a queue can be listed.")
        yield _refused(
            "Purging drops messages and does not cancel their tasks; it may refuse to drop delayed messages."
        )
    if not declared.exact_sizes:
        yield _refused("The sizes of queues are approximate.")


def _broker_crash(declared: BrokerCapabilities) -> _Statements:
    yield _crash(_DURABLE_MESSAGES.get(declared.durability) or _odd("durability", declared.durability, "messages"))
    if declared.durability == Durability.NONE and not declared.shared:
        return
    when = _BACK.get(declared.hold)
    if when is None:
        yield _crash(_odd("hold", declared.hold, "when messages of a dead worker are delivered again"))
    else:
        yield _crash(f"Messages of a worker that died are delivered again {when}.")


_BACK = {
    Hold.LEASE: "when its lease has run out (`lease_seconds`, 30 by default)",
    Hold.CONNECTION: "as soon as the broker sees that its connection is gone",
}

_DURABLE_MESSAGES = {
    Durability.NONE: "Messages end with the process that holds them: all of them are lost.",
    Durability.PROCESS: (
        "No message is lost when a worker or a sender is killed. If the service is killed or the machine loses power, "
        "messages that were not on disk yet may be lost."
    ),
    Durability.POWER: "No accepted message is lost, even when the power fails.",
    Durability.CACHE: "The service may drop messages when it runs short of room.",
}


# Backends


def _nothing_stored() -> _Statements:
    yield _refused("Nothing is stored: there are no results and no states; groups, chords and locks are refused.")
    yield _refused("A task that is delivered twice may run twice.")
    yield _crash("A task that ran when its worker died runs again; so may a task that had just ended.")


def _storage(declared: BackendCapabilities) -> _Statements:
    if declared.shared:
        yield _native("Any number of processes share its results, groups and locks.")
    else:
        yield _refused("Its results live in one process: other processes do not see them.")
    if declared.expiry_resolution_seconds:
        late = _seconds(declared.expiry_resolution_seconds)
        yield _native(f"Results are deleted when their retention ends, at most {late} late.")
    else:
        yield _native("Results are deleted as soon as their retention ends.")
    if declared.lists_tasks:
        yield _native("Tasks that have not ended can be listed.")
    else:
        yield _refused("Tasks that have not ended cannot be listed.")


def _results(declared: BackendCapabilities) -> _Statements:
    if declared.notifies:
        yield _native("A waiting caller is notified when the result is there.")
    else:
        yield _supplied("A waiting caller polls for the result, with growing pauses.")
    if declared.largest_value_bytes is None:
        yield _native("Results of any size.")
        return
    largest = _bytes(declared.largest_value_bytes)
    yield _native(f"Results of up to {largest}.")
    yield _refused(f"A result of more than {largest} makes its task fail, with an error that says so.")


def _backend_crash(declared: BackendCapabilities) -> _Statements:
    yield _crash(_DURABLE_RECORDS.get(declared.durability) or _odd("durability", declared.durability, "results"))


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


# Pairs


def _sending(broker: BrokerCapabilities, backend: BackendCapabilities) -> _Statements:
    if broker.store is not None and broker.store == backend.store:
        yield _native("A task is recorded and published in one step: both, or neither.")
        yield _crash("A sender that dies while it sends leaves the task sent or not sent, and nothing between.")
    elif backend.stores:
        yield _supplied("A task is recorded first and then published, in two steps: no transaction covers both.")
        yield _crash(
            "A sender that dies between the two leaves a task recorded as pending that never runs. Its `send` had not "
            "returned; sent again under the same id, it runs."
        )


def _large_bodies(broker: BrokerCapabilities, backend: BackendCapabilities) -> _Statements:
    if broker.largest_message_bytes is None:
        return
    largest = broker.largest_message_bytes
    if not backend.stores:
        yield _refused(f"A message of more than {_bytes(largest)} is refused: the backend stores no message bodies.")
        return
    largest_value = backend.largest_value_bytes
    if largest_value is not None and _is_number(largest_value) and _is_number(largest) and largest_value <= largest:
        yield _refused(f"A message of more than {_bytes(largest)} is refused: the backend stores none as large.")
        return
    yield _supplied(
        f"Arguments too large for a message of {_bytes(largest)} are kept in the backend until the task has ended."
    )
    if largest_value is not None:
        yield _refused(f"A message of more than {_bytes(largest_value)} is refused: neither can store it.")
    if backend.durability == Durability.CACHE:
        yield _crash("Such large arguments may be dropped with all else in the cache; then their task fails.")


def _processes(broker: BrokerCapabilities, backend: BackendCapabilities) -> _Statements:
    if broker.shared and backend.stores and not backend.shared:
        yield _refused(
            "Other processes share the broker and not the backend: a task that runs in another process never ends for "
            "its sender. Use a backend that is shared."
        )


def _running_again(broker: BrokerCapabilities, backend: BackendCapabilities) -> _Statements:
    if not backend.stores:
        return
    if Durability.NONE in {broker.durability, backend.durability}:
        yield _crash("If one of the two is lost, unfinished workflows cannot continue.")
    if backend.durability not in {Durability.PROCESS, Durability.POWER}:
        return
    yield _crash(
        "A task that ran when its worker died is started again, once the lease of its run is over; one that has ended "
        "is not."
    )


# All


def _unknown(declared: Any, known: type[Any]) -> _Statements:
    """What a driver of another version, or with a child of our class, declares besides."""
    names = {attribute.name for attribute in attrs.fields(known)}
    own = attrs.fields(type(declared)) if attrs.has(type(declared)) else ()
    for attribute in own:
        if attribute.name not in names:
            what = f"{attribute.name} {getattr(declared, attribute.name)!r}"
            yield _refused(f"It declares {what}, of which this version of drivetrain knows nothing.")


def _odd(what: str, value: object, about: str) -> str:
    return (
        f"It declares the {what} {str(value)!r}, which this version of drivetrain does not know: nothing is promised "
        f"of {about}."
    )


def _in(section: Section) -> Callable[[str], Statement]:
    return lambda text: Statement(section, text)


_native, _supplied = _in(Section.NATIVE), _in(Section.SUPPLIED)
_refused, _crash = _in(Section.REFUSED), _in(Section.CRASH)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: Any) -> str:
    """A time that promises no more than ``value``: odd ones are cut, not rounded."""
    if not _is_number(value):
        return f"{value!s} seconds"
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if value >= size and (value % size == 0 or value >= 10 * size):
            return _counted(value * 10 // size / 10, unit)
    return _counted(value, "second")


def _bytes(value: Any) -> str:
    if not _is_number(value):
        return f"{value!s} bytes"
    units = ((1 << 30, "GiB"), (1 << 20, "MiB"), (10**6, "MB"), (1 << 10, "KiB"))
    for size, unit in units:
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:,} bytes"


def _counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
