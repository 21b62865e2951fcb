"""Which broker goes with which backend, and why some do not."""

from __future__ import annotations

from attrs import frozen

__all__ = ["BACKENDS", "BROKERS", "Pair", "named", "pairs", "why_not"]

#: By scheme, in the order of the table. Other schemes of a driver are other ways to the same one.
BROKERS = ("memory", "sqlite", "redis", "amqp", "sqs")
BACKENDS = ("memory", "sqlite", "redis", "mongodb", "memcache", "null")


@frozen(order=True)
class Pair:
    """A broker and a backend, by their schemes."""

    broker: str
    backend: str

    def __str__(self) -> str:
        return f"{self.broker}+{self.backend}"


def why_not(pair: Pair) -> str | None:
    """Why this pair is not in the matrix; None: it is."""
    if pair.backend == "null":
        return "`null://` keeps nothing, so there are neither results nor groups to hold to the contract of workflows."
    if (pair.broker == "memory") != (pair.backend == "memory"):
        return (
            "`memory://` lives in one process and ends with it. Beside a service that other processes share, half of "
            "an app's state would be out of their reach: take `memory://` for both, or for neither."
        )
    return None


def pairs() -> list[Pair]:
    """All that are in the matrix."""
    every = (Pair(broker, backend) for broker in BROKERS for backend in BACKENDS)
    return [pair for pair in every if why_not(pair) is None]


def named(name: str) -> Pair:
    """The pair that is written ``redis+mongodb``.

    Raises:
        ValueError: it is not in the matrix; the message says why.
    """
    known = {str(pair): pair for pair in pairs()}
    if name in known:
        return known[name]
    broker, _, backend = name.partition("+")
    if broker in BROKERS and backend in BACKENDS:
        raise ValueError(f"{name} is not in the matrix: {why_not(Pair(broker, backend))}")
    raise ValueError(f"there is no pair {name}; there are {', '.join(known)}")
