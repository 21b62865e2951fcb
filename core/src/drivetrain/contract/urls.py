"""Driver URLs: taking them apart, and showing them without their secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from attrs import field, frozen

from drivetrain.contract.errors import ConfigurationError
from drivetrain.contract.hosts import Host, read_hosts

__all__ = ["DriverUrl", "redact"]


@frozen(kw_only=True)
class DriverUrl:
    """A URL in parts. ``repr`` shows no secret."""

    scheme: str
    #: What stands between ``//`` and the path, as written; may name several hosts.
    netloc: str
    #: With its leading slash, unquoted.
    path: str
    options: Mapping[str, str]
    #: The whole, without its secrets.
    shown: str = field(default="", eq=False)

    @classmethod
    def parse(cls, url: str) -> DriverUrl:
        """Take ``url`` apart.

        Raises:
            ConfigurationError: it has no scheme, an option is given twice, or a character in it must be
                percent-encoded.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or not re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme):
            raise ConfigurationError(
                f"{redact(url)!r} is no driver URL; write one as scheme://…, like sqlite:///work.db"
            )
        place, _, query = rest.partition("?")
        netloc, slash, path = place.partition("/")
        if fault := _unencoded(netloc, path, query):
            raise ConfigurationError(f"{redact(url)} cannot be read", [fault])
        pairs = parse_qsl(query, keep_blank_values=True)
        options = dict(pairs)
        if len(options) != len(pairs):
            raise ConfigurationError(f"{redact(url)} cannot be read", ["an option is given twice"])
        path = unquote(slash + path)
        return cls(scheme=scheme.lower(), netloc=netloc, path=path, options=options, shown=redact(url))

    @property
    def user(self) -> str | None:
        """What stands before the hosts as ``user@`` or ``user:password@``, unquoted; None if nothing does."""
        secret, at, _ = self.netloc.rpartition("@")
        return unquote(secret.partition(":")[0]) if at else None

    @property
    def password(self) -> str | None:
        """What stands before the hosts as ``:password@``, unquoted; None if nothing does."""
        _, colon, password = self.netloc.rpartition("@")[0].partition(":")
        return unquote(password) if colon else None

    @property
    def place(self) -> str:
        """The hosts as written, without user and password."""
        return self.netloc.rpartition("@")[2]

    def hosts(self, *, port: int, name: str = "") -> tuple[tuple[Host, ...], list[str]]:
        """The hosts, and what is wrong with them; see `read_hosts`."""
        return read_hosts(self.place, port=port, name=name)

    def __repr__(self) -> str:
        return f"DriverUrl({self.shown})"


def _unencoded(netloc: str, path: str, query: str) -> str | None:
    """What is wrong with a URL that does not end its parts where its author meant; shows none of it."""
    if "#" in netloc + path + query:
        return "it holds a #, after which a URL is not read on; write %23"
    names = [pair.partition("=")[0] for pair in query.split("&")]
    # With a slash or a question mark in it, a password looks like a host and a path; neither may be shown then.
    if netloc and ("@" in path or any("@" in name for name in names) or ("@" in query and "@" not in netloc)):
        return "an @ stands after its host; in user, password, path and options write %40 for @, %2F for /, %3F for ?"
    return None


def redact(url: str) -> str:
    """``url`` with user, password and the values of its options left out; for messages and logs."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if "@" in url else url
    # A password may hold any sign, even a slash, a question mark or an at-sign: all up to the last at-sign goes.
    secret, at, rest = rest.rpartition("@")
    place, _, query = rest.partition("?")
    shown = f"{scheme}://{'***@' if at and secret else ''}{place}"
    names = [pair.partition("=")[0] for pair in query.split("&") if pair]
    return f"{shown}?{'&'.join(f'{name}=…' for name in names)}" if names else shown
