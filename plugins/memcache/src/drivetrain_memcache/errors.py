"""From the errors of pymemcache and of sockets to ours."""

from __future__ import annotations

import ssl

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable
from drivetrain_memcache.library import (
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
)

__all__ = ["CLIENT_ERRORS", "mapped"]

#: All that a call to a server raises: pymemcache's own, and those of sockets, names and TLS, which are all OSErrors.
CLIENT_ERRORS = (MemcacheError, OSError)

#: What servers say, and what to do about it.
_ADVICE = {
    "object too large": "its largest item (-I) is smaller than the URL says; write ?item_bytes=… as it is",
    "out of memory": "it is full, and was told (-M) not to drop anything; give it more memory (-m)",
    "cas disabled": "start it without -C: nothing can be changed safely without cas",
}
_NOT_ADMITTED = ("unauthenticated", "authentication failure")


def mapped(error: Exception, server: str) -> ServiceError:
    """The error of the contract for an error of a call to ``server``; to be raised from it."""
    text = f"memcached {server}: {_said(error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServiceRefused(f"{text}; its certificate is not trusted, name its authority as ca_file in the URL")
    if isinstance(error, (OSError, MemcacheUnexpectedCloseError)):
        return ServiceUnavailable(text)
    if isinstance(error, MemcacheClientError) and any(words in text for words in _NOT_ADMITTED):
        return AuthenticationFailed(f"{text}; put the user and password of its -Y file into the URL")
    if isinstance(error, MemcacheUnknownCommandError):
        return ServiceRefused(f"{text}; it, or a proxy before it, does not know this command")
    if isinstance(error, (MemcacheServerError, MemcacheClientError)):
        return ServiceRefused(text + _advice(text))
    return ServiceRefused(f"{text}; is this a memcached?")


def _said(error: Exception) -> str:
    said = error.args[0] if isinstance(error, MemcacheError) and error.args else str(error)
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if isinstance(error, MemcacheUnexpectedCloseError):
        return words or "it closed the connection"
    return words or type(error).__name__


def _advice(text: str) -> str:
    return next((f"; {advice}" for words, advice in _ADVICE.items() if words in text), "")
