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

#: All that pymongo raises. `UnicodeEncodeError` and `OverflowError` are for text and integers that BSON does not know.
MONGO_ERRORS = (PyMongoError, BSONError, UnicodeEncodeError, OverflowError)

LARGEST_DOCUMENT_BYTES = 16 * 1024 * 1024

#: A document may hold a payload, what waits for it, and the continuation of a group of the same id: all three must fit,
#: whoever writes which of them first.
LARGEST_VALUE_BYTES = 5 * 1024 * 1024

DUPLICATE_KEY = 11000

#: BSONObjectTooLarge, and what servers say of an update that would make a document too large.
_TOO_LARGE = frozenset({10334, 17280, 17419, 17420})

#: UserNotFound, AuthenticationFailed, MechanismUnavailable, ReauthenticationRequired; Atlas's own.
_AUTHENTICATION = frozenset({11, 18, 334, 391, 8000})
_UNAUTHORIZED = 13

#: Codes after which the same call may succeed: the server is stepping down, starting, or short of time, or nodes do not
#: reach each other. All others are refusals.
_PASSING = frozenset(
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
_PASSING_LABELS = ("RetryableWriteError", "TransientTransactionError", "RetryableError", "SystemOverloadedError")


def mapped(error: Exception, place: str, *, srv: bool = False) -> ServiceError:
    """The error of the contract for an error of pymongo; to be raised from it.

    What a server says of a failed batch names whole documents, which are nobody's business: they are taken out of
    ``error`` as well.

    Args:
        error: what pymongo raised.
        place: where the service is, without secrets.
        srv: whether its hosts are looked up in the DNS.
    """
    if isinstance(error, DocumentTooLarge):
        return _too_large(place)
    if isinstance(error, OperationFailure):
        return _answered(error, place)
    if isinstance(error, ConnectionFailure):
        return ServiceUnavailable(f"{place}: {error}")
    if isinstance(error, InvalidOperation):
        return ServiceUnavailable(f"{place}: {error}")  # another thread has closed the client meanwhile
    if isinstance(error, ConfigurationError) and srv:
        return ServiceUnavailable(f"{place}: its hosts cannot be looked up: {error}")
    return ServiceRefused(f"{place}: {error}")


def _answered(error: OperationFailure, place: str) -> ServiceError:
    code, text = _told(error)
    if isinstance(error, (BulkWriteError, ClientBulkWriteException)):
        error.args = (text,)
    shown = f"{place}: {text}"
    if code in _TOO_LARGE:
        return _too_large(place)
    if code in _AUTHENTICATION or (code == _UNAUTHORIZED and "requires authentication" in text):
        return AuthenticationFailed(shown)
    if code == _UNAUTHORIZED:
        return ServiceRefused(f"{shown}; give this user the role readWrite on the database")
    return ServiceUnavailable(shown) if _passes(error, code) else ServiceRefused(shown)


def _passes(error: OperationFailure, code: int | None) -> bool:
    if isinstance(error, (CursorNotFound, ExecutionTimeout, WTimeoutError)) or code in _PASSING:
        return True
    return any(error.has_error_label(label) for label in _PASSING_LABELS)


def _told(error: OperationFailure) -> tuple[int | None, str]:
    """Code and text: of the first failed entry of a batch, without the document that it was about."""
    if isinstance(error, ClientBulkWriteException):
        return error.code, "a batch of writes has failed"
    details: Mapping[str, Any] = error.details or {}
    failures = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    first = failures[0] if failures else details
    code = first.get("code", error.code)
    # Servers quote the key of a duplicate, and nothing else of a document.
    return code, first.get("errmsg") or f"{type(error).__name__} of code {code}"


def _too_large(place: str) -> TooLarge:
    return TooLarge(f"{place}: a document", LARGEST_DOCUMENT_BYTES + 1, LARGEST_DOCUMENT_BYTES)
