"""The hosts of a URL, checked for what can never work. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from attrs import frozen

__all__ = ["Host", "read_hosts"]

_HIGHEST_PORT = 65_535
#: A part of a name has 1 to 63 characters, the whole at most 253; names in other scripts are allowed.
_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")
_LONGEST_NAME = 254


@frozen
class Host:
    """A host and its port.

    Attributes:
        name: a name or an address; an IPv6 address has no brackets here.
        port: the port, 1 to 65,535.
    """

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def read_hosts(listed: str, *, port: int, name: str = "") -> tuple[tuple[Host, ...], list[str]]:
    """Read hosts that are separated by commas, each ``name``, ``name:port`` or ``[IPv6 address]:port``.

    Args:
        listed: the hosts as in a URL, without user and password.
        port: the port of a host without one.
        name: the name of a host without one; empty: every host must have a name.

    Returns:
        The hosts, and a sentence for each fault. Do not use the hosts if there is a fault.
    """
    hosts: list[Host] = []
    faults: list[str] = []
    for written in listed.split(","):
        found, after = _split(written)
        faults += _faults(written, found, after, name)
        if not faults:
            hosts.append(Host(found.removeprefix("[").removesuffix("]") or name, int(after[1:] or port)))
    return tuple(hosts), faults


def _split(written: str) -> tuple[str, str]:
    """The name as written, and the rest from the colon of the port on."""
    if written.startswith("["):
        address, bracket, after = written.partition("]")
        return address + bracket, after
    name, colon, after = written.partition(":")
    return name, colon + after


def _faults(written: str, name: str, after: str, default: str) -> Iterator[str]:
    if not name and not default:
        yield f"it names no host{f' before {after}' if after else ''}; write host:port, with commas between several"
    elif name and not _is_name(name):
        yield f"its host is {name!r}; use a name, an IPv4 address, or an IPv6 address in brackets"
    if after and not _is_port(after):
        yield f"the port of {written!r} is {after.removeprefix(':')!r}; use a number from 1 to {_HIGHEST_PORT}"


def _is_name(name: str) -> bool:
    if name.startswith("["):
        return name.endswith("]") and _is_ipv6(name[1:-1])
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _is_ipv6(address: str) -> bool:
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True


def _is_port(after: str) -> bool:
    return re.fullmatch(":[0-9]{1,5}", after) is not None and 1 <= int(after[1:]) <= _HIGHEST_PORT
