"""What the capabilities of a broker mean. Pure."""

from __future__ import annotations

from drivetrain.cli.capability_report.statements import (
    Section,
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
from drivetrain.cli.capability_report.units import in_bytes, in_seconds, is_number
from drivetrain.contract import BrokerCapabilities, Durability, Hold

__all__ = ["of_broker"]


def of_broker(declared: BrokerCapabilities) -> list[Statement]:
    """What a broker's capabilities mean, by section."""
    return by_section(_queues(declared), _messages(declared), _delays(declared), _holds(declared), _admin(declared),
                    _broker_crash(declared), unknown_attributes(declared, BrokerCapabilities))  # fmt: skip


def _queues(declared: BrokerCapabilities) -> Statements:
    if declared.shared:
        yield native("Any number of processes share its queues.")
    else:
        yield refused("Its queues live in one process: workers in other processes are refused.")
    if declared.ordered:
        yield native("Messages of one queue and priority come in the order in which one sender published them.")
    else:
        yield refused("Messages are not ordered: one may be delivered before another that was published earlier.")
    if declared.fair_keys:
        yield native("The keys of tasks with fair_by take turns within a priority.")
    else:
        yield refused("Keys do not take turns: a task with fair_by is refused when it is sent.")
    levels = declared.priority_levels
    if not is_number(levels) or levels <= 1:
        yield refused("Priorities are not supported: a task with one is refused when it is sent.")
        return
    yield native(f"Priorities 0 to {levels - 1}, higher ones first.")
    yield refused(f"A priority of {levels} or more is refused when a task is sent.")


def _messages(declared: BrokerCapabilities) -> Statements:
    largest = declared.largest_message_bytes
    if largest is None:
        yield native("Messages of any size.")
    else:
        yield native(f"Messages of up to {in_bytes(largest)}, headers included.")
    if declared.counts_deliveries:
        yield native("Deliveries of each message are counted.")
    else:
        yield supplied("Deliveries are not counted: how often a task was started is counted in the backend.")


def _delays(declared: BrokerCapabilities) -> Statements:
    late = f"at most {in_seconds(declared.delay_resolution_seconds)} late while the machine is idle, and never early"
    longest = declared.longest_delay_seconds
    yield Statement(Section.DELAYS, f"A delayed task is delivered {late}.")
    if longest is None:
        yield native("Delays of any length.")
        return
    yield native(f"Delays of up to {in_seconds(longest)}.")
    yield supplied(
        f"Longer delays: the message is delivered after {in_seconds(longest)} at the latest and published again for "
        "the rest. That takes a worker that runs at that time; without one the task is late."
    )


def _holds(declared: BrokerCapabilities) -> Statements:
    if declared.hold == Hold.LEASE:
        yield native("A message is held for a time, which the worker extends while its task runs.")
    elif declared.hold == Hold.CONNECTION:
        yield native("A message is held as long as the worker's connection lives.")
    if declared.longest_hold_seconds is not None:
        longest = in_seconds(declared.longest_hold_seconds)
        yield supplied(
            f"Tasks of more than {longest}: the broker delivers the message once more meanwhile, and the lease of the "
            "run, which is stored in the backend, prevents a second run."
        )
    if not declared.settles_late:
        yield supplied(
            "When a hold has ended, its message cannot be settled, and is delivered again; a task that has ended does "
            "not run again."
        )


def _admin(declared: BrokerCapabilities) -> Statements:
    if declared.lists_queues:
        yield native("All queues that were ever used can be listed.")
    else:
        yield supplied("The list of queues: those that the app's tasks and settings name.")
    if declared.peeks:
        yield native("Ready and delayed messages can be listed.")
    else:
        yield refused("Only the dead letters of a queue can be listed.")
        yield refused("Purging drops messages and does not cancel their tasks; it may refuse to drop delayed messages.")
    if not declared.exact_sizes:
        yield refused("The sizes of queues are approximate.")
    if declared.measures_age:
        yield native("The age of the oldest ready message of a queue is known.")
    else:
        yield refused("The age of the oldest message of a queue is not known.")


def _broker_crash(declared: BrokerCapabilities) -> Statements:
    yield crash(
        _DURABLE_MESSAGES.get(declared.durability) or unknown_value("durability", declared.durability, "messages")
    )
    if declared.durability == Durability.NONE and not declared.shared:
        return
    when = _BACK.get(declared.hold)
    if when is None:
        yield crash(unknown_value("hold", declared.hold, "when messages of a dead worker are delivered again"))
    else:
        yield crash(f"Messages of a worker that died are delivered again {when}.")


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
