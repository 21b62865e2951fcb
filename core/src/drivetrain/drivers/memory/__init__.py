"""``memory://``: a broker and a backend in this process; the reference of the contract.

``memory://`` is private to the driver object; ``memory://name`` is shared by all objects of this process that name it
in the same namespace, for as long as one of them lives. Nothing survives the process, and a forked child starts with
nothing. The namespace is the app's name, or what the URL says as its option ``namespace``.
"""

from __future__ import annotations

from drivetrain.contract import (
    Backend,
    Broker,
    ConfigurationError,
    DriverContext,
    DriverUrl,
    hookimpl,
    namespace_option,
    read_options,
    redact,
)
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.broker import MemoryBroker

__all__ = ["MemoryBackend", "MemoryBroker", "make_backend", "make_broker", "shared_name"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> Broker:
    """Make the broker of a ``memory://`` URL.

    Raises:
        ConfigurationError: the URL says more than a name.
    """
    return MemoryBroker(shared_name(url, context.namespace), context.clock)


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of a ``memory://`` URL.

    Raises:
        ConfigurationError: the URL says more than a name.
    """
    return MemoryBackend(shared_name(url, context.namespace), context.clock)


def shared_name(url: str, namespace: str) -> str:
    """Under which name the memory of a URL is shared in this process; empty: it is private.

    Args:
        url: the URL.
        namespace: the namespace where the URL names none.

    Raises:
        ConfigurationError: the URL is wrong; every fault is named.
    """
    parts = DriverUrl.parse(url)
    options, faults = read_options(parts.options, {"namespace": namespace_option})
    if parts.path.strip("/"):
        faults.append("it has a path; write memory:// for a private store, or memory://name for a shared one")
    if "@" in parts.netloc:
        faults.append("it has a user; memory:// takes none")
    if faults:
        raise ConfigurationError(f"{redact(url)} is no URL of the memory driver", faults)
    # A name holds no question mark, so no two pairs of a name and a namespace look the same.
    return f"{parts.netloc}?{options.get('namespace', namespace)}" if parts.netloc else ""
