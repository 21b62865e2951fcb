"""The driver of ``memcache://host1,host2``: results, groups and versioned values in Memcached.

The README lists options and guarantees.
"""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain_memcache.backend import MemcacheBackend
from drivetrain_memcache.options import Options

__all__ = ["MemcacheBackend", "make_backend"]


@hookimpl
def make_backend(url: str, context: DriverContext) -> MemcacheBackend:
    """Make the backend of a ``memcache://`` URL. Does no I/O.

    Raises:
        ConfigurationError: the URL or a driver option is wrong; it names every fault.
    """
    options = Options.parse(url, context.namespace, context.options)
    return MemcacheBackend(options.in_directory(context.directory), context.clock)
