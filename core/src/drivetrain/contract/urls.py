"""Driver URLs: taking them apart, and showing them without their secrets."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

from drivetrain.contract.errors import ConfigurationError

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
            ConfigurationError: it has no scheme, or an option is given twice.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigurationError(f"{redact(url)!r} is no URL: {error}") from None
        if not parts.scheme or "://" not in url:
            raise ConfigurationError(
                f"{redact(url)!r} is no driver URL; write one as scheme://…, like sqlite:///work.db"
            )
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        options = dict(pairs)
        if len(options) != len(pairs):
            raise ConfigurationError(f"{redact(url)}: an option is given twice")
        path = unquote(parts.path)
        return cls(scheme=parts.scheme, netloc=parts.netloc, path=path, options=options, shown=redact(url))

    def __repr__(self) -> str:
        return f"DriverUrl({self.shown})"


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
