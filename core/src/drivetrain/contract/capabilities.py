"""Capabilities: what a driver can do, declared as data that the worker and the contract tests read.

Core supplies what a driver lacks, or refuses it with a clear error when the app starts. It finds nothing out by
failing.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from drivetrain.contract.states import State

__all__ = ["BackendCapabilities", "BrokerCapabilities", "Durability", "Hold", "TaskReach"]


class Durability(StrEnum):
    """What acknowledged data survives.

    Attributes:
        NONE: nothing survives the end of the process that stores it.
        PROCESS: it survives ``kill -9`` of any process of drivetrain, but not the loss of the machine's power.
        POWER: it survives the loss of power.
        CACHE: the service may drop it when it runs out of memory.
    """

    NONE = "none"
    PROCESS = "process"
    POWER = "power"
    CACHE = "cache"


class Hold(StrEnum):
    """How a broker keeps a delivered message from other consumers.

    Attributes:
        LEASE: for a time, which can be extended.
        CONNECTION: as long as the consumer's connection lives.
    """

    LEASE = "lease"
    CONNECTION = "connection"


class TaskReach(StrEnum):
    """Which tasks a backend can list, by their state. False in a condition if it can list none.

    Attributes:
        NONE: none.
        UNFINISHED: those that are not terminal.
        FAILED: these, and those that ended without success.
        ALL: all of which there is a record.
    """

    NONE = "none"
    UNFINISHED = "unfinished"
    FAILED = "failed"
    ALL = "all"

    def __bool__(self) -> bool:
        return self is not TaskReach.NONE

    @property
    def states(self) -> frozenset[State]:
        """The states whose tasks it covers."""
        return _REACHED[self]


_REACHED = {
    TaskReach.NONE: frozenset[State](),
    TaskReach.UNFINISHED: frozenset(state for state in State if not state.terminal),
    TaskReach.FAILED: frozenset(state for state in State if state is not State.SUCCESS),
    TaskReach.ALL: frozenset(State),
}


@frozen(kw_only=True)
class BrokerCapabilities:
    """What a broker can do.

    Attributes:
        durability: what a published message survives.
        hold: how a delivered message is kept from other consumers.
        shared: whether other processes see the same queues.
        longest_delay_seconds: the longest delay that the broker keeps, more than 0; None: any. For a longer one core
            publishes the message again on the way.
        delay_resolution_seconds: how late a delayed message may be on an idle machine, 0 or more. It is never early.
        largest_message_bytes: the largest body and headers together; None: any. Core stores larger bodies in the
            backend.
        priority_levels: the number of priorities, 1 or more; 1: there are none.
        ordered: whether messages of one queue and priority arrive in the order in which one sender published them.
        fair_keys: whether the fair keys of a queue take turns; see `FAIR_KEY_HEADER`. Without it, core refuses a task
            with ``fair_by``.
        longest_hold_seconds: the longest that one delivery can be held, extensions included; None: any.
        counts_deliveries: whether `Delivery.delivery_count` is set.
        lists_queues: whether `Broker.queues` lists every queue that was ever used.
        peeks: whether `Broker.peek` shows ready and delayed messages. It always shows dead letters.
        measures_age: whether `QueueSizes.oldest_seconds` is set.
        exact_sizes: whether `Broker.sizes` and `Broker.purge` count exactly, perhaps late; otherwise they are
            estimates.
        settles_late: whether a message can still be settled after its hold has ended, until another consumer receives
            it. Otherwise the end of the hold is final, and to settle it then changes nothing.
        receive_wait_seconds: how long one receive call should wait for messages, more than 0. A longer wait costs fewer
            calls and makes a worker stop later.
        store: a name of where everything is stored, without secrets. A broker and a backend of one store are written in
            one step, by `RecordingBroker.record_and_publish`; None: they cannot be.
    """

    durability: Durability
    hold: Hold = Hold.LEASE
    shared: bool = True
    longest_delay_seconds: float | None = None
    delay_resolution_seconds: float = 0.1
    largest_message_bytes: int | None = None
    priority_levels: int = 1
    ordered: bool = False
    fair_keys: bool = False
    longest_hold_seconds: float | None = None
    counts_deliveries: bool = False
    lists_queues: bool = False
    peeks: bool = False
    measures_age: bool = False
    exact_sizes: bool = True
    settles_late: bool = True
    receive_wait_seconds: float = 1.0
    store: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class BackendCapabilities:
    """What a backend can do.

    Attributes:
        durability: what an acknowledged write survives.
        stores: whether anything is stored at all. Without it there are no results, groups or versioned values.
        shared: whether other processes see the same records.
        notifies: whether `Backend.wait` and `Backend.wait_values` work; otherwise core polls with back-off.
        largest_value_bytes: the largest payload, downstream, continuation, body or versioned value; None: any.
        expiry_resolution_seconds: how long an expired record or value may still be visible, 0 or more.
        lists_tasks: which tasks `Backend.list_tasks` lists.
        lists_newest_first: whether it lists tasks that have ended newest first.
        store: see `BrokerCapabilities.store`.
    """

    durability: Durability
    stores: bool = True
    shared: bool = True
    notifies: bool = False
    largest_value_bytes: int | None = None
    expiry_resolution_seconds: float = 0.0
    lists_tasks: TaskReach = TaskReach.NONE
    lists_newest_first: bool = False
    store: str | None = field(default=None, repr=False)
