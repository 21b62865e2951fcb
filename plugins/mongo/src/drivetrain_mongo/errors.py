"""From pymongo's errors to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable, TooLarge

__all__ = ["DUPLICATE_KEY", "LARGEST_DOCUMENT_BYTES", "LARGEST_VALUE_BYTES", "MONGO_ERRORS", "mapped"]

#: The errors of pymongo. It raises `UnicodeEncodeError` and `OverflowError` for text and integers that BSON lacks.
MONGO_ERRORS = (PyMongoError, BSONError, UnicodeEncodeError, OverflowError)

LARGEST_DOCUMENT_BYTES = 16 * 1024 * 1024

#: One document may hold a payload, a downstream, and the continuation of the group of the same id. All three must fit,
#: in whatever order they are written.
LARGEST_VALUE_BYTES = 5 * 1024 * 1024

DUPLICATE_KEY = 11000

#: BSONObjectTooLarge, and the codes of updates that would make a document too large.
_TOO_LARGE = frozenset({10334, 17280, 17419, 17420})

#: UserNotFound, AuthenticationFailed, MechanismUnavailable, ReauthenticationRequired; Atlas's own.
_AUTHENTICATION = frozenset({11, 18, 334, 391, 8000})
_UNAUTHORIZED = 13

#: Codes after which the same call may succeed: the server is stepping down or starting, had too little time, or cannot
#: reach other servers. All other codes are refusals.
_TRANSIENT = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        24,  # LockTimeout
        43,  # CursorNotFound
        50,  # MaxTimeMSExpired
        63,  # StaleShardVersion
        64,  # WriteConcernTimeout
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        133,  # FailedToSatisfyReadPreference
        134,  # ReadConcernMajorityNotAvailableYet
        150,  # StaleEpoch
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        202,  # NetworkInterfaceExceededTimeLimit
        222,  # CloseChangeStream
        234,  # RetryChangeStream
        246,  # SnapshotUnavailable
        262,  # ExceededTimeLimit
        270,  # TooManyLocks
        280,  # ChangeStreamFatalError
        286,  # ChangeStreamHistoryLost
        290,  # TransactionExceededLifetimeLimitSeconds
        317,  # ConnectionPoolExpired
        365,  # TemporarilyUnavailable
        384,  # ConnectionError
        462,  # IngressRequestRateLimitExceeded
        9001,  # SocketException
        10058,  # LegacyNotPrimary
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11602,  # InterruptedDueToReplStateChange
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
    }
)
_TRANSIENT_LABELS = ("RetryableWriteError", "TransientTransactionError", "RetryableError", "SystemOverloadedError")


def mapped(error: Exception, server: str, *, srv: bool = False) -> ServiceError:
    """The error of the contract for an error of pymongo; the caller raises it from ``error``.

    The error of a failed batch quotes whole documents, which may hold secrets. This removes them from ``error`` too.

    Args:
        error: the error of pymongo.
        server: the URL without secrets.
        srv: whether the DNS knows the hosts.
    """
    if isinstance(error, DocumentTooLarge):
        return _too_large(server)
    if isinstance(error, OperationFailure):
        return _of_answer(error, server)
    if isinstance(error, ConnectionFailure):
        return ServiceUnavailable(f"{server}: {error}")
    if isinstance(error, InvalidOperation):
        return ServiceUnavailable(f"{server}: {error}")  # another thread has closed the client meanwhile
    if isinstance(error, ConfigurationError) and srv:
        return ServiceUnavailable(f"{server}: the DNS lookup of its hosts failed: {error}")
    return ServiceRefused(f"{server}: {error}")


def _of_answer(error: OperationFailure, server: str) -> ServiceError:
    code, text = _code_and_text(error)
    if isinstance(error, (BulkWriteError, ClientBulkWriteException)):
        error.args = (text,)
    shown = f"{server}: {text}"
    if code in _TOO_LARGE:
        return _too_large(server)
    if code in _AUTHENTICATION or (code == _UNAUTHORIZED and "requires authentication" in text):
        return AuthenticationFailed(shown)
    if code == _UNAUTHORIZED:
        return ServiceRefused(f"{shown}; give this user the role readWrite on the database")
    return ServiceUnavailable(shown) if _is_transient(error, code) else ServiceRefused(shown)


def _is_transient(error: OperationFailure, code: int | None) -> bool:
    if isinstance(error, (CursorNotFound, ExecutionTimeout, WTimeoutError)) or code in _TRANSIENT:
        return True
    return any(error.has_error_label(label) for label in _TRANSIENT_LABELS)


def _code_and_text(error: OperationFailure) -> tuple[int | None, str]:
    """The code and the text of an error; of a batch those of its first failed write, without the document."""
    if isinstance(error, ClientBulkWriteException):
        return error.code, "a batch of writes has failed"
    details: Mapping[str, Any] = error.details or {}
    failures = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    first = failures[0] if failures else details
    code = first.get("code", error.code)
    # A server's text quotes the key of a duplicate, and nothing else of a document.
    return code, first.get("errmsg") or f"{type(error).__name__} of code {code}"


def _too_large(server: str) -> TooLarge:
    return TooLarge(f"{server}: a document", LARGEST_DOCUMENT_BYTES + 1, LARGEST_DOCUMENT_BYTES)
