"""``memory://``: a broker and a backend in this process; the reference of the contract.

``memory://`` is private to the driver object; ``memory://name`` is shared by all objects of this process that name it,
for as long as one of them lives. Nothing survives the process.
"""

from __future__ import annotations

from drivetrain.contract import Backend, Broker, ConfigurationError, DriverContext, DriverUrl, hookimpl, redact
from drivetrain.drivers.memory.backend import MemoryBackend
from drivetrain.drivers.memory.broker import MemoryBroker

__all__ = ["MemoryBackend", "MemoryBroker", "make_backend", "make_broker"]


@hookimpl
def make_broker(url: str, context: DriverContext) -> Broker:
    """Make the broker of a ``memory://`` URL.

    Raises:
        ConfigurationError: the URL says more than a name.
    """
    return MemoryBroker(_name(url), context.clock)


@hookimpl
def make_backend(url: str, context: DriverContext) -> Backend:
    """Make the backend of a ``memory://`` URL.

    Raises:
        ConfigurationError: the URL says more than a name.
    """
    return MemoryBackend(_name(url), context.clock)


def _name(url: str) -> str:
    parts = DriverUrl.parse(url)
    faults = [f"there is no option {name!r}; memory:// has none" for name in parts.options]
    if parts.path.strip("/"):
        faults.append("it has a path; write memory:// for a private store, or memory://name for a shared one")
    if "@" in parts.netloc:
        faults.append("it has a user; memory:// takes none")
    if faults:
        raise ConfigurationError(f"{redact(url)} is no URL of the memory driver", faults)
    return parts.netloc
