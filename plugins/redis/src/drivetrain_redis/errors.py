"""From the errors of hiredis, sockets and the server to ours."""

from __future__ import annotations

import re

import hiredis

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "ConnectionLost", "mapped", "of_reply"]

#: All that hiredis and a socket raise. Unicode: text that UTF-8 does not know; Overflow: numbers beyond C's.
CLIENT_ERRORS = (hiredis.HiredisError, OSError, UnicodeError, OverflowError)


class ConnectionLost(ConnectionError):
    """A server has closed a connection, or there is none to be had."""


#: By the first word of an error of the server: what it is to us, and what to do about it.
_REPLIES: dict[str, tuple[type[ServiceError], str]] = {
    "NOAUTH": (AuthenticationFailed, "the server wants a password; put it into the URL"),
    "WRONGPASS": (AuthenticationFailed, "user or password are wrong; correct the URL"),
    "NOPERM": (
        ServiceRefused,
        "this user may not do it; the README of drivetrain-redis lists the commands, keys and channels that it needs",
    ),
    "DENIED": (ServiceRefused, "the server is in protected mode; give it a password, or let it listen to 127.0.0.1"),
    "OOM": (ServiceRefused, "the server's memory is full (maxmemory); make room or raise the limit"),
    "READONLY": (ServiceRefused, "this server is a read-only replica; name the master, or use redis+sentinel://"),
    "MISCONF": (ServiceRefused, "the server cannot write to its disk, and so takes no writes; look at its log"),
    "NOREPLICAS": (ServiceUnavailable, "too few replicas are connected (min-replicas-to-write)"),
    "LOADING": (ServiceUnavailable, "the server is loading its data"),
    "BUSY": (ServiceUnavailable, "a script of somebody else keeps the server busy"),
    "MASTERDOWN": (ServiceUnavailable, "this replica has lost its master"),
    "CLUSTERDOWN": (ServiceUnavailable, "the cluster is not complete"),
    "TRYAGAIN": (ServiceUnavailable, "the cluster is moving these keys to another node"),
    "MOVED": (ServiceUnavailable, "the cluster has moved these keys; for a cluster write redis+cluster://"),
    "ASK": (ServiceUnavailable, "the cluster is moving these keys; for a cluster write redis+cluster://"),
    "NOSCRIPT": (ServiceUnavailable, "the server forgets scripts at once"),
    "UNBLOCKED": (ServiceUnavailable, "the server has changed its role"),
    "NOMASTERLINK": (ServiceUnavailable, "this replica has no link to its master"),
    "INPROG": (ServiceUnavailable, "a failover is going on"),
    "UNKILLABLE": (ServiceUnavailable, "a script of somebody else keeps the server busy"),
    "WRONGTYPE": (
        ServiceRefused,
        "a key of ours holds something else; another program uses this namespace, name another one (?namespace=…)",
    ),
    "CROSSSLOT": (ServiceRefused, "for a cluster write redis+cluster://"),
    "EXECABORT": (ServiceRefused, ""),
    "NOPROTO": (ServiceRefused, "drivetrain needs Redis 6.2 or later"),
}


#: Where in a script it happened; of no use to anybody.
_WHERE = re.compile(r" script: [0-9a-f]{40}, on @user_script:\d+\.?$")


def of_reply(error: hiredis.ReplyError, shown: str) -> ServiceError:
    """The error of the contract for an error that the server has answered; to be raised from it."""
    text = _WHERE.sub("", str(error))
    kind, advice = _advice(text)
    return kind(f"{shown}: {text}" + (f"; {advice}" if advice else ""))


def _advice(text: str) -> tuple[type[ServiceError], str]:
    code = text.partition(" ")[0].lstrip("-")
    if code in _REPLIES:
        return _REPLIES[code]
    for inner, found in _REPLIES.items():
        # Inside a script an error's own word comes first in Redis 7, and within the text in Redis 6.
        if f" -{inner} " in text or f": {inner} " in text:
            return found
    if "max number of clients" in text:
        return ServiceUnavailable, "the server has too many connections (maxclients)"
    if "unknown command" in text:
        return ServiceRefused, "drivetrain needs Redis 6.2 or later, and all commands that its README lists"
    if "without any password configured" in text:
        return AuthenticationFailed, "the server has no password; take it out of the URL"
    return ServiceRefused, ""


def mapped(error: Exception, shown: str) -> ServiceError:
    """The error of the contract for an error of the client; to be raised from it."""
    if isinstance(error, hiredis.ReplyError):
        return of_reply(error, shown)
    if isinstance(error, _PASSING):
        return ServiceUnavailable(f"{shown}: {_told(error)}")
    return of_reply(hiredis.ReplyError(str(error) or type(error).__name__), shown)


#: After these the same call may succeed. What is no protocol of Redis may be a proxy that is starting.
_PASSING = (hiredis.ProtocolError, OSError)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"it did not answer in time ({error})"
    return str(error) or type(error).__name__
