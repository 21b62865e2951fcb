"""The options of the plugin: the setting ``plugin_options`` has them under ``prometheus``."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from attrs import fields_dict, frozen

from drivetrain.contract import ConfigurationError

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "Options"]

DEFAULT_HOST = "127.0.0.1"
#: Where workers serve their metrics.
DEFAULT_PORT = 9760

_LARGEST_PORT = 65535


@frozen(kw_only=True)
class Options:
    """The options of the plugin.

    Attributes:
        host: the address that the endpoint of a worker listens on. Metrics name queues and tasks, so by default only
            this machine can read them.
        port: the port of that endpoint; 0: no endpoint, because the application serves the registry itself.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Options:
        """The options.

        Raises:
            ConfigurationError: one is unknown or wrong; it names every fault.
        """
        faults = [_unknown(name) for name in given if name not in fields_dict(cls)]
        host, port = given.get("host", DEFAULT_HOST), given.get("port", DEFAULT_PORT)
        if not isinstance(host, str) or not host:
            faults.append(f"host is {host!r}; it must be an address or a host name")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _LARGEST_PORT:
            faults.append(f"port is {port!r}; it must be a whole number from 0 to {_LARGEST_PORT}")
        if faults:
            raise ConfigurationError("the options of the plugin prometheus are wrong:", faults)
        return cls(host=host, port=port)


def _unknown(name: str) -> str:
    known = list(fields_dict(Options))
    near = get_close_matches(name, known, n=1)
    return f"{name!r} is unknown" + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")
