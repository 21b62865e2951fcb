"""What a driver can do, declared as data: read by the worker and by the contract tests alike.

What a driver lacks, core supplies, or refuses with a clear error when the app starts. Nothing is found out by failing.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

__all__ = ["BackendCapabilities", "BrokerCapabilities", "Durability", "Hold"]


class Durability(StrEnum):
    """What survives."""

    #: Nothing survives the end of the process that holds it.
    NONE = "none"
    #: What was acknowledged survives ``kill -9`` of any of our processes, not the loss of the machine's power.
    PROCESS = "process"
    #: What was acknowledged survives the loss of power.
    POWER = "power"
    #: Kept by a service that may drop it when it runs short of room.
    CACHE = "cache"


class Hold(StrEnum):
    """How a broker keeps a delivered message from other consumers."""

    #: For a time, which can be extended.
    LEASE = "lease"
    #: As long as the consumer's connection lives.
    CONNECTION = "connection"


@frozen(kw_only=True)
class BrokerCapabilities:
    """What a broker can do."""

    durability: Durability
    hold: Hold = Hold.LEASE
    #: Whether other processes see the same queues.
    shared: bool = True
    #: The longest delay that the broker keeps by itself, in seconds; None: any. Core lets longer ones hop.
    longest_delay_seconds: float | None = None
    #: How late a delayed message may come on an idle machine, in seconds. It never comes early.
    delay_resolution_seconds: float = 0.1
    #: The largest body and headers together, in bytes; None: any. Core keeps larger bodies in the backend.
    largest_message_bytes: int | None = None
    #: How many levels of priority; 1: none.
    priority_levels: int = 1
    #: Whether messages of one queue and priority come in the order in which one sender published them.
    ordered: bool = False
    #: The longest that one delivery can be held, extensions included, in seconds; None: any.
    longest_hold_seconds: float | None = None
    #: Whether `Delivery.delivery_count` is told.
    counts_deliveries: bool = False
    #: Whether `Broker.queues` tells every queue that was ever used.
    lists_queues: bool = False
    #: Whether `Broker.peek` sees ready and delayed messages (it always sees the dead ones).
    peeks: bool = False
    #: Whether `Broker.sizes` and `Broker.purge` count exactly, if perhaps late; else they are about right.
    exact_sizes: bool = True
    #: Whether a message may still be settled after its hold has ended, until somebody else is handed it. Otherwise the
    #: end of the hold is final, and settling it then changes nothing.
    settles_late: bool = True
    #: How long one receive call should wait for messages, in seconds. Longer costs fewer calls, and a slower stop.
    receive_wait_seconds: float = 1.0
    #: Names the place where everything is kept, and no secret. A broker and a backend of one store can be written to in
    #: one step, by `RecordingBroker.record_and_publish`; None: they cannot.
    store: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class BackendCapabilities:
    """What a backend can do."""

    durability: Durability
    #: Whether anything is kept at all. Without memory there are no results, groups or locks.
    stores: bool = True
    #: Whether other processes see the same records.
    shared: bool = True
    #: Whether `Backend.wait` is told by the service; otherwise core polls with back-off.
    notifies: bool = False
    #: The largest payload, in bytes; None: any.
    largest_value_bytes: int | None = None
    #: How long an expired record may still be seen, in seconds.
    expiry_resolution_seconds: float = 0.0
    #: Whether `Backend.unfinished` lists tasks.
    lists_tasks: bool = False
    #: As `BrokerCapabilities.store`.
    store: str | None = field(default=None, repr=False)
