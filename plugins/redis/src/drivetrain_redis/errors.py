"""Errors of redis-py and of the server, as errors of the contract."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ExecAbortError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "mapped", "server_text"]

#: All that redis-py raises. OSError: a name that cannot be resolved; Unicode: text that UTF-8 cannot encode; Overflow:
#: a number beyond C's.
CLIENT_ERRORS = (RedisError, RedisClusterException, OSError, UnicodeError, OverflowError)

#: By the code of an error of the server: the error of the contract, and what to do.
_ANSWERS: dict[str, tuple[type[ServiceError], str]] = {
    "NOAUTH": (AuthenticationFailed, "the server requires a password; add it to the URL"),
    "WRONGPASS": (AuthenticationFailed, "user or password are wrong; correct the URL or the credential provider"),
    "NOPERM": (
        ServiceRefused,
        "this user lacks a permission; the README of drivetrain-redis lists the commands, keys and channels it needs",
    ),
    "DENIED": (ServiceRefused, "the server is in protected mode; set a password, or let it listen to 127.0.0.1 only"),
    "OOM": (ServiceRefused, "the server's memory is full (maxmemory); make room or raise the limit"),
    "READONLY": (ServiceRefused, "this server is a read-only replica; name the master, or use redis+sentinel://"),
    "MISCONF": (ServiceRefused, "the server cannot write to its disk and refuses writes; read its log"),
    "NOREPLICAS": (ServiceUnavailable, "too few replicas are connected (min-replicas-to-write)"),
    "LOADING": (ServiceUnavailable, "the server is loading its data"),
    "BUSY": (ServiceUnavailable, "a script of another program keeps the server busy"),
    "MASTERDOWN": (ServiceUnavailable, "this replica has lost its master"),
    "CLUSTERDOWN": (ServiceUnavailable, "the cluster is not complete"),
    "TRYAGAIN": (ServiceUnavailable, "the cluster is moving these keys to another node"),
    "MOVED": (ServiceUnavailable, "the cluster has moved these keys; for a cluster write redis+cluster://"),
    "ASK": (ServiceUnavailable, "the cluster is moving these keys; for a cluster write redis+cluster://"),
    "NOSCRIPT": (ServiceUnavailable, "the server forgets scripts at once"),
    "UNBLOCKED": (ServiceUnavailable, "the server has changed its role"),
    "NOMASTERLINK": (ServiceUnavailable, "this replica has no link to its master"),
    "INPROG": (ServiceUnavailable, "a failover is going on"),
    "UNKILLABLE": (ServiceUnavailable, "a script of another program keeps the server busy"),
    "WRONGTYPE": (
        ServiceRefused,
        "another program has keys in this namespace; choose another one (?namespace=…)",
    ),
    "CROSSSLOT": (ServiceRefused, "for a cluster write redis+cluster://"),
    "EXECABORT": (ServiceRefused, ""),
    "NOPROTO": (ServiceRefused, "drivetrain needs Redis 6.2 or later"),
}

#: The same by a part of the text, for errors without such a code.
_ANSWERS_WITHOUT_CODE: dict[str, tuple[type[ServiceError], str]] = {
    "max number of clients": (ServiceUnavailable, "the server has too many connections (maxclients)"),
    "unknown command": (ServiceRefused, "drivetrain needs Redis 6.2 or later, and all commands that its README lists"),
    "cryptography is not installed": (ServiceRefused, "verify_ocsp needs it: pip install redis[ocsp]"),
    "cluster support disabled": (ServiceRefused, "this server is in no cluster; write redis:// or rediss://"),
    "without any password configured": (AuthenticationFailed, "the server has no password; remove it from the URL"),
}

#: The same for errors of redis-py itself. After those that are unavailable the same call may succeed. A peer that does
#: not speak the protocol may be a proxy that is starting.
_BY_CLASS: tuple[tuple[type[Exception], tuple[type[ServiceError], str]], ...] = (
    (
        AuthenticationError,
        (AuthenticationFailed, "correct the user and password in the URL, or the credential provider"),
    ),
    (RedisTimeoutError, (ServiceUnavailable, "the server did not answer in time")),
    (TimeoutError, (ServiceUnavailable, "the server did not answer in time")),
    (RedisConnectionError, (ServiceUnavailable, "")),
    (InvalidResponse, (ServiceUnavailable, "")),
    (RedisClusterException, (ServiceUnavailable, "")),
    (OSError, (ServiceUnavailable, "")),
)

#: The codes that redis-py takes out of an error's text, by the class that it makes of them. The order counts: a
#: subclass stands before its base.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (NoScriptError, "NOSCRIPT"),
    (MovedError, "MOVED"),
    (AskError, "ASK"),
    (TryAgainError, "TRYAGAIN"),
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (ClusterCrossSlotError, "CROSSSLOT"),
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
    (NoPermissionError, "NOPERM"),
    (ExecAbortError, "EXECABORT"),
    (BusyLoadingError, "LOADING"),
)

#: Where in a script it happened, which helps no user.
_WHERE = re.compile(r" script: [0-9a-f]{40}, on @user_script:\d+\.?$")


def mapped(error: Exception, shown: str) -> ServiceError:
    """The error of the contract for an error of the client; to be raised from it.

    Args:
        error: one of `CLIENT_ERRORS`.
        shown: the URL without its secrets.
    """
    error = _reason(error)
    text = _WHERE.sub("", server_text(error))
    kind, advice = _advice(error, text)
    return kind(f"{shown}: {text}" + (f"; {advice}" if advice else ""))


def _reason(error: Exception) -> Exception:
    """If no node of a cluster could be asked, the error of the last one: redis-py's own says little."""
    inner = error.__cause__ or error.__context__
    return _reason(inner) if isinstance(error, RedisClusterException) and isinstance(inner, CLIENT_ERRORS) else error


def server_text(error: Exception) -> str:
    """The text of an error, with the server's code in front if redis-py has taken it off."""
    text = str(error) or type(error).__name__
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "")
    if isinstance(error, AuthenticationError):
        code = "NOAUTH" if "required" in text else "WRONGPASS" if "invalid" in text else ""
    return text if not code or text.startswith(code) else f"{code} {text}"


def _advice(error: Exception, text: str) -> tuple[type[ServiceError], str]:
    code = text.partition(" ")[0].lstrip("-")
    if code in _ANSWERS:
        return _ANSWERS[code]
    for inner, found in _ANSWERS.items():
        # Inside a script an error's own code comes first in Redis 7, and within the text in Redis 6.
        if f" -{inner} " in text or f": {inner} " in text:
            return found
    for part, found in _ANSWERS_WITHOUT_CODE.items():
        if part in text:
            return found
    return next((found for kind, found in _BY_CLASS if isinstance(error, kind)), (ServiceRefused, ""))
