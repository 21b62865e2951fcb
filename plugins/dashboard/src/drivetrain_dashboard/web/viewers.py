"""Viewers of the dashboard, and how they are authenticated."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import field, frozen
from starlette.requests import HTTPConnection

from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.web.passwords import PasswordChecker, User

__all__ = [
    "Authentication",
    "Authorize",
    "BasicAuthentication",
    "LocalAuthentication",
    "ProxyAuthentication",
    "Refused",
    "TrustedAddresses",
    "Viewer",
]


@frozen(kw_only=True)
class Viewer:
    """A person that uses the dashboard.

    Attributes:
        name: the name, as other operators see it.
        role: what the viewer may do.
        address: the address of the client; empty: unknown.
    """

    name: str
    role: Role
    address: str = ""


#: Whether a viewer may do an action with an object. The action is ``view`` with the name of a page, ``task.arguments``
#: with the id of a task, or the name of an action with what it acts on.
Authorize = Callable[[Viewer, str, str], bool]


class Refused(Exception):
    """A request is refused before any page is read.

    Attributes:
        status: the status of the answer: 401 or 403.
        text: why, in words, for the person who sees it.
        headers: more headers of the answer.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}


class Authentication(Protocol):
    """Finds out who sends a request. An application may have its own, for example one that reads its sessions."""

    async def viewer(self, connection: HTTPConnection) -> Viewer:
        """The viewer.

        Raises:
            Refused: the request has no valid credentials.
        """
        ...


class TrustedAddresses:
    """Addresses of clients that are believed: proxies. Immutable.

    Args:
        given: addresses or networks: ``127.0.0.1``, ``10.0.0.0/8``; ``unix`` for a UNIX socket.

    Raises:
        ConfigurationError: one is neither.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._unix = "unix" in given
        self._networks = tuple(_network(one) for one in given if one != "unix")

    def __contains__(self, address: object) -> bool:
        if address in {None, ""}:
            return self._unix
        try:
            found = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not an address of a proxy; use an address like 127.0.0.1, a network like 10.0.0.0/8, or unix"
        ) from None


_LOOPBACK = TrustedAddresses(["127.0.0.0/8", "::1/128"])
#: Headers that a proxy adds. A request that came through a proxy is not from this machine, whatever its address says.
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


class LocalAuthentication:
    """Lets everybody in who uses this machine, and nobody else. The default, where none is configured.

    The ``Host`` of a request must be this machine too: otherwise a page on the internet could let its own name point to
    127.0.0.1, and read the dashboard through the browser of an operator (DNS rebinding).

    Args:
        name: the name of the viewer.
        role: what the viewer may do.
    """

    def __init__(self, *, name: str = "local", role: Role = Role.ADMIN) -> None:
        self._name = name
        self._role = role

    async def viewer(self, connection: HTTPConnection) -> Viewer:
        """See `Authentication.viewer`."""
        address = "" if connection.client is None else connection.client.host
        proxied = any(name in connection.headers for name in _PROXY_HEADERS)
        if address not in _LOOPBACK or proxied or not is_loopback_host(connection.headers.get("host", "")):
            raise Refused(
                403,
                "This dashboard has no authentication, so it answers only requests of its own machine, for localhost. "
                "Configure one: asgi(app, authentication=BasicAuthentication(…)) or ProxyAuthentication(…); for "
                "`drivetrain dashboard`, --users FILE or --user-header NAME.",
            )
        return Viewer(name=self._name, role=self._role, address=address)


def is_loopback_host(host: str) -> bool:
    """Whether a ``Host`` header, or an address to listen on, names this machine alone."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.strip("[]").lower()
    return name == "localhost" or name.endswith(".localhost") or name in _LOOPBACK


class BasicAuthentication:
    """Names and passwords, which the browser asks for (HTTP Basic). Use it with TLS only, beyond this machine.

    Args:
        users: the users by name; `drivetrain_dashboard.User` holds a hash of the password and a role.
        realm: the text that the browser shows.

    Raises:
        ConfigurationError: there are no users, or a name has a colon.
    """

    def __init__(self, users: Mapping[str, User], *, realm: str = "drivetrain") -> None:
        if not users:
            raise ConfigurationError("BasicAuthentication has no users; give at least one")
        if wrong := [name for name in users if ":" in name or not name]:
            raise ConfigurationError(f"the name of a user is {wrong[0]!r}; use one or more characters, without a colon")
        self._checker = PasswordChecker(users)
        self._realm = realm.replace('"', "'")

    async def viewer(self, connection: HTTPConnection) -> Viewer:
        """See `Authentication.viewer`."""
        address = "" if connection.client is None else connection.client.host
        found = await self._checker.check(connection.headers.get("authorization", ""))
        if found is None:
            headers = {"WWW-Authenticate": f'Basic realm="{self._realm}", charset="UTF-8"'}
            raise Refused(401, "Give a name and a password.", headers)
        name, role = found
        return Viewer(name=name, role=role, address=address)


def _trusted_addresses(given: Sequence[str]) -> TrustedAddresses:
    return TrustedAddresses(given)


@frozen(kw_only=True)
class ProxyAuthentication:
    """A proxy that has authenticated the user, and says so in a header. The proxy must remove that header of clients.

    Attributes:
        trusted: the addresses of the proxy: see `TrustedAddresses`. Requests of other addresses are refused.
        user_header: the header with the name of the user.
        role_header: the header with the role of the user; empty: `roles` has them.
        roles: the roles by name of the user.
        default_role: the role of other users; None: they are refused.
    """

    trusted: TrustedAddresses = field(converter=_trusted_addresses)
    user_header: str = "X-Forwarded-User"
    role_header: str = ""
    roles: Mapping[str, Role] = field(factory=dict)
    default_role: Role | None = Role.READ_ONLY

    async def viewer(self, connection: HTTPConnection) -> Viewer:
        """See `Authentication.viewer`."""
        address = "" if connection.client is None else connection.client.host
        if address not in self.trusted:
            raise Refused(403, "This dashboard answers only requests that come through its proxy.")
        names = connection.headers.getlist(self.user_header)
        if len(names) != 1 or not names[0].strip():
            raise Refused(401, f"The proxy has not said who you are, in the header {self.user_header}.")
        name = names[0].strip()
        role = self._role(name, connection)
        if role is None:
            raise Refused(403, f"User {name} has no role in this dashboard.")
        return Viewer(name=name, role=role, address=address)

    def _role(self, name: str, connection: HTTPConnection) -> Role | None:
        if self.role_header:
            given = connection.headers.get(self.role_header, "").strip()
            return Role(given) if given in set(Role) else self.default_role
        return self.roles.get(name, self.default_role)
