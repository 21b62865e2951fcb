"""Driver URLs: their parts, and how to show them without their secrets."""

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
    """A URL in parts. ``repr`` shows no secret.

    Attributes:
        scheme: the scheme, in lower case.
        netloc: the part between ``//`` and the path, as written. It may have several hosts.
        path: the path with its leading slash, percent-decoded.
        options: the texts of the options by name, percent-decoded.
        shown: the URL without its secrets, for messages.
    """

    scheme: str
    netloc: str
    path: str
    options: Mapping[str, str]
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
                f"{redact(url)!r} is not a driver URL; write one as scheme://…, like sqlite:///work.db"
            )
        before_query, _, query = rest.partition("?")
        netloc, slash, path = before_query.partition("/")
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
        """The user before the hosts (``user@`` or ``user:password@``), percent-decoded; None: there is none."""
        secret, at, _ = self.netloc.rpartition("@")
        return unquote(secret.partition(":")[0]) if at else None

    @property
    def password(self) -> str | None:
        """The password before the hosts (``:password@``), percent-decoded; None: there is none."""
        _, colon, password = self.netloc.rpartition("@")[0].partition(":")
        return unquote(password) if colon else None

    @property
    def hosts_text(self) -> str:
        """The hosts as written, without user and password."""
        return self.netloc.rpartition("@")[2]

    def hosts(self, *, port: int, name: str = "") -> tuple[tuple[Host, ...], list[str]]:
        """The hosts, and what is wrong with them; see `read_hosts`."""
        return read_hosts(self.hosts_text, port=port, name=name)

    def __repr__(self) -> str:
        return f"DriverUrl({self.shown})"


def _unencoded(netloc: str, path: str, query: str) -> str | None:
    """The fault of a URL whose parts do not end where its author meant; it shows nothing of the URL."""
    if "#" in netloc + path + query:
        return "it contains a #, which ends a URL; write %23"
    names = [pair.partition("=")[0] for pair in query.split("&")]
    # With a slash or a question mark in it, a password looks like a host and a path; neither may be shown then.
    if netloc and ("@" in path or any("@" in name for name in names) or ("@" in query and "@" not in netloc)):
        return "an @ follows its host; in user, password, path and options write %40 for @, %2F for /, %3F for ?"
    return None


def redact(url: str) -> str:
    """``url`` without user, password and the values of its options; for messages and logs."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if "@" in url else url
    # A password may contain any character, even / ? and @: drop everything up to the last @.
    secret, at, rest = rest.rpartition("@")
    before_query, _, query = rest.partition("?")
    shown = f"{scheme}://{'***@' if at and secret else ''}{before_query}"
    names = [pair.partition("=")[0] for pair in query.split("&") if pair]
    return f"{shown}?{'&'.join(f'{name}=…' for name in names)}" if names else shown
