"""What follows from a broker and a backend together. Pure."""

from __future__ import annotations

from drivetrain.cli.capability_report.statements import (
    Statement,
    Statements,
    by_section,
    crash,
    native,
    refused,
    supplied,
)
from drivetrain.cli.capability_report.units import in_bytes, is_number
from drivetrain.contract import BackendCapabilities, BrokerCapabilities, Durability

__all__ = ["of_pair"]


def of_pair(broker: BrokerCapabilities, backend: BackendCapabilities) -> list[Statement]:
    """What follows from the pair, beyond the statements of each driver."""
    return by_section(_sending(broker, backend), _large_bodies(broker, backend), _processes(broker, backend),
                    _running_again(broker, backend))  # fmt: skip


def _sending(broker: BrokerCapabilities, backend: BackendCapabilities) -> Statements:
    if broker.store is not None and broker.store == backend.store:
        yield native("A task is recorded and published in one step: both, or neither.")
        yield crash("A sender that dies while it sends leaves the task sent or not sent, and nothing between.")
    elif backend.stores:
        yield supplied("A task is recorded first and then published, in two steps: no transaction covers both.")
        yield crash(
            "A sender that dies between the two leaves a task recorded as pending that never runs. Its `send` had not "
            "returned; sent again under the same id, it runs."
        )


def _large_bodies(broker: BrokerCapabilities, backend: BackendCapabilities) -> Statements:
    if broker.largest_message_bytes is None:
        return
    largest = broker.largest_message_bytes
    if not backend.stores:
        yield refused(f"A message of more than {in_bytes(largest)} is refused: the backend stores no message bodies.")
        return
    largest_value = backend.largest_value_bytes
    if largest_value is not None and is_number(largest_value) and is_number(largest) and largest_value <= largest:
        yield refused(f"A message of more than {in_bytes(largest)} is refused: the backend stores none as large.")
        return
    yield supplied(
        f"Arguments too large for a message of {in_bytes(largest)} are kept in the backend until the task has ended."
    )
    if largest_value is not None:
        yield refused(f"A message of more than {in_bytes(largest_value)} is refused: neither can store it.")
    if backend.durability == Durability.CACHE:
        yield crash("Such large arguments may be dropped with all else in the cache; then their task fails.")


def _processes(broker: BrokerCapabilities, backend: BackendCapabilities) -> Statements:
    if broker.shared and backend.stores and not backend.shared:
        yield refused(
            "Other processes share the broker and not the backend: a task that runs in another process never ends for "
            "its sender. Use a backend that is shared."
        )


def _running_again(broker: BrokerCapabilities, backend: BackendCapabilities) -> Statements:
    if not backend.stores:
        return
    if Durability.NONE in {broker.durability, backend.durability}:
        yield crash("If one of the two is lost, unfinished workflows cannot continue.")
    if backend.durability not in {Durability.PROCESS, Durability.POWER}:
        return
    yield crash(
        "A task that ran when its worker died is started again, once the lease of its run is over; one that has ended "
        "is not."
    )
