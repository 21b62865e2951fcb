"""From errors of pymemcache and of sockets to errors of the contract; and from error lines to errors of pymemcache."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from pymemcache.exceptions import (  # type: ignore[import-untyped]
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
    MemcacheUnknownError,
)

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "mapped", "of_line"]

#: The errors of a call to a server: pymemcache's own, and those of sockets, names and TLS, which are all OSErrors.
CLIENT_ERRORS = (MemcacheError, OSError)

#: The error of pymemcache for the first word of an error line.
_ERROR_LINES: Mapping[bytes, type[Exception]] = {
    b"SERVER_ERROR": MemcacheServerError,
    b"CLIENT_ERROR": MemcacheClientError,
    b"ERROR": MemcacheUnknownCommandError,
}

#: From what a server answers to what the operator can do.
_ADVICE = {
    "object too large": "its largest item (-I) is smaller than the URL says; set item_bytes in the URL to that size",
    "out of memory": "it is full and does not evict (-M); give it more memory (-m)",
    "cas disabled": "start it without -C, because every change needs cas",
}
_NOT_ADMITTED = ("unauthenticated", "authentication failure")


def mapped(error: Exception, server: str) -> ServiceError:
    """The error of the contract for an error of a call to ``server``; the caller raises it from ``error``."""
    text = f"memcached {server}: {_text_of(error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServiceRefused(f"{text}; its certificate is not trusted, name its authority as ca_file in the URL")
    if isinstance(error, (OSError, MemcacheUnexpectedCloseError)):
        return ServiceUnavailable(text)
    if isinstance(error, MemcacheClientError) and any(words in text for words in _NOT_ADMITTED):
        return AuthenticationFailed(f"{text}; put the user and password of its -Y file into the URL")
    if isinstance(error, MemcacheUnknownCommandError):
        return ServiceRefused(f"{text}; the server, or a proxy before it, does not know this command")
    if isinstance(error, (MemcacheServerError, MemcacheClientError)):
        return ServiceRefused(text + _advice(text))
    return ServiceRefused(f"{text}; this does not seem to be a Memcached, check host and port in the URL")


def of_line(line: bytes) -> Exception:
    """The error of pymemcache for a line that does not answer the request."""
    word, _, text = line.partition(b" ")
    if (kind := _ERROR_LINES.get(word)) is not None:
        return kind(text or line)
    unexpected: Exception = MemcacheUnknownError(b"unexpected answer " + repr(line[:32]).encode())
    return unexpected


def _text_of(error: Exception) -> str:
    first = error.args[0] if isinstance(error, MemcacheError) and error.args else str(error)
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    if isinstance(error, MemcacheUnexpectedCloseError):
        return text or "it closed the connection"
    return text or type(error).__name__


def _advice(text: str) -> str:
    return next((f"; {advice}" for words, advice in _ADVICE.items() if words in text), "")
