"""``memory://``: a broker and a backend in this process; the reference implementation of the contract.

``memory://`` is private to its driver object. All objects of this process with the same ``memory://name`` and the same
namespace share one store, as long as one of them exists. Nothing survives the process; a forked child starts empty.
The namespace is the option ``namespace`` of the URL, by default the app's name.
"""

from __future__ import annotations

from drivetrain.contract import (
    Backend,
    Broker,
    DriverContext,
    DriverUrl,
    check_driver_options,
    hookimpl,
    namespace_option,
    raise_for_faults,
    read_options,
)
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.broker import MemoryBroker

__all__ = ["MemoryBackend", "MemoryBroker", "make_backend", "make_broker", "shared_name"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> Broker:
    """Make the broker of a ``memory://`` URL.

    Raises:
        ConfigurationError: the URL says more than a name, or `DriverContext.options` is not empty.
    """
    check_driver_options("memory", context.options)
    return MemoryBroker(shared_name(url, context.namespace), context.clock)


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of a ``memory://`` URL.

    Raises:
        ConfigurationError: the URL says more than a name, or `DriverContext.options` is not empty.
    """
    check_driver_options("memory", context.options)
    return MemoryBackend(shared_name(url, context.namespace), context.clock)


def shared_name(url: str, namespace: str) -> str:
    """The name under which the store of a URL is shared in this process; empty: the store is private.

    Args:
        url: the URL.
        namespace: the namespace of a URL without the option ``namespace``.

    Raises:
        ConfigurationError: the URL is wrong; the error names every fault.
    """
    parts = DriverUrl.parse(url)
    options, faults = read_options(parts.options, {"namespace": namespace_option})
    if parts.path.strip("/"):
        faults.append("it has a path; write memory:// for a private store, or memory://name for a shared one")
    if "@" in parts.netloc:
        faults.append("it has a user; memory:// takes none")
    raise_for_faults("memory", parts, faults)
    # A name contains no question mark, so two pairs of a name and a namespace never give the same text.
    return f"{parts.netloc}?{options.get('namespace', namespace)}" if parts.netloc else ""
