"""``memcache://host1,host2``: results, groups and locks in Memcached. See the README for settings and guarantees."""

from __future__ import annotations

from drivetrain.contract import DriverContext, hookimpl
from drivetrain_memcache.backend import MemcacheBackend
from drivetrain_memcache.options import Options

__all__ = ["MemcacheBackend", "make_backend"]


@hookimpl
def make_backend(url: str, context: DriverContext) -> MemcacheBackend:
    """See `drivetrain.contract.hookspecs.DriverHooks.make_backend`."""
    return MemcacheBackend(Options.parse(url, context.namespace).in_directory(context.directory), context.clock)
