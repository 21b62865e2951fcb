"""From botocore's errors to ours."""

from __future__ import annotations

from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from botocore import exceptions  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "code_of", "entry_error", "is_missing_queue", "mapped", "plain"]


def _known(*names: str) -> tuple[type[Exception], ...]:
    """The classes of these names; older versions of botocore have fewer."""
    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


#: All that a client raises: four roots, and two classes that have none.
CLIENT_ERRORS: tuple[type[Exception], ...] = (
    exceptions.BotoCoreError,
    exceptions.ClientError,
    Boto3Error,
    ResponseParserError,
    *_known("UndefinedModelAttributeError", "MissingServiceIdError"),
)

#: The service was not reached, or what came back was no answer of its.
_AWAY: tuple[type[Exception], ...] = (
    ResponseParserError,
    *_known(
        "HTTPClientError", "ConnectionError", "IncompleteReadError", "ChecksumError", "FlexibleChecksumError",
        "AwsChunkedWrapperError", "MetadataRetrievalError", "CapacityNotAvailableError",
    ),
)  # fmt: skip

#: Nobody was found who we are.
_NOBODY = _known(
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError",
    "TokenRetrievalError", "UnknownTokenProviderError", "SSOError", "LoginError", "RefreshWithMFAUnsupportedError",
    "InfiniteLoopConfigError", "UnknownCredentialError", "ProfileNotFound",
)  # fmt: skip

#: Codes of a request that may pass when it is made again.
_PASSING = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "KmsThrottled",
        "PriorRequestNotComplete",
        "QueueDeletedRecently",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    }
)

#: Codes of credentials that are wrong, or no longer right.
_UNKNOWN_US = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "NotAuthorized",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)

_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError"})
#: What a key of KMS says comes under the name of SQS's own error, or under that of KMS, by the protocol.
_KMS = {
    "KMS.AccessDeniedException": "KmsAccessDenied",
    "KMS.DisabledException": "KmsDisabled",
    "KMS.InvalidKeyUsageException": "KmsInvalidKeyUsage",
    "KMS.InvalidStateException": "KmsInvalidState",
    "KMS.KMSInvalidStateException": "KmsInvalidState",
    "KMS.NotFoundException": "KmsNotFound",
    "KMS.OptInRequired": "KmsOptInRequired",
    "KMS.ThrottlingException": "KmsThrottled",
}
_MISSING_QUEUE = frozenset({"QueueDoesNotExist", "NonExistentQueue"})

#: In what SQS says of a message that is beyond the limit of its queue.
_TOO_LONG = "must be shorter than"

_ADVICE = {
    "ExpiredToken": "the session has ended; get new credentials",
    "ExpiredTokenException": "the session has ended; get new credentials",
    "RequestExpired": "look whether the clock of this machine is right",
    "RequestTimeTooSkewed": "look whether the clock of this machine is right",
    "SignatureDoesNotMatch": "look whether the secret key is right, and the clock of this machine",
    "OverLimit": (
        "too many messages of this queue are in flight (120,000, or 20,000 in a FIFO queue): received, and neither "
        "acknowledged nor given back; this passes as they are settled"
    ),
    "QueueDeletedRecently": "a queue of this name was deleted less than 60 seconds ago; SQS wants so long a pause",
    "QueueNameExists": "there is such a queue with other attributes; use it without create=true",
    "QueueAlreadyExists": "there is such a queue with other attributes; use it without create=true",
    "KmsAccessDenied": (
        "the queue is encrypted: allow this identity kms:GenerateDataKey (to send) and kms:Decrypt on its key too"
    ),
    "KmsDisabled": "the key that encrypts the queue is disabled",
    "KmsInvalidState": "the key that encrypts the queue cannot be used in its state",
    "KmsNotFound": "the key that encrypts the queue is not found",
}


def mapped(error: Exception, action: str, queue: str = "") -> ServiceError:
    """The error of the contract for one of botocore; to be raised from it.

    Args:
        error: one of `CLIENT_ERRORS`.
        action: what was asked, as IAM names it without its service: ``SendMessage``.
        queue: the queue's name in SQS; empty where none is meant.
    """
    if isinstance(error, exceptions.ClientError):
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return entry_error(code_of(error), told.get("Message") or "", action, queue, status=status)
    where = f"sqs:{action}{f' on {queue}' if queue else ''}"
    if isinstance(error, _NOBODY):
        return AuthenticationFailed(
            f"{where}: {error}; set credentials as for every AWS client: environment, profile or role"
        )
    if isinstance(error, _AWAY):
        return ServiceUnavailable(f"{where}: {error}")
    if isinstance(error, exceptions.NoRegionError):
        return ServiceRefused(f"{where}: no region is set; write sqs://eu-central-1/… or set AWS_REGION")
    return ServiceRefused(f"{where}: {error}")


def entry_error(code: str, message: str, action: str, queue: str, *, status: int = 0) -> ServiceError:
    """The error of the contract for an error code of the service, of a call or of one entry of a batch."""
    where = f"sqs:{action}{f' on {queue}' if queue else ''}"
    code = plain(code)
    text = f"{where}: {code}" + (f": {message.rstrip('.')}" if message else "")
    if code in _ADVICE:
        text += f"; {_ADVICE[code]}"
    elif _TOO_LONG in message.lower():
        text += "; the queue takes less than this URL says: set message_bytes to its MaximumMessageSize"
    if code in _UNKNOWN_US:
        return AuthenticationFailed(text)
    if code in _FORBIDDEN:
        return ServiceRefused(f"{text}; allow this identity the action sqs:{action} (the README has policies)")
    if code in _MISSING_QUEUE:
        return ServiceRefused(
            f"there is no queue {queue} in SQS; create it, or add create=true to the URL (asked by sqs:{action}, "
            "which says the same of a queue that this identity may not see)"
        )
    if code in _PASSING or status >= 500 or status == 429:
        return ServiceUnavailable(text)
    return ServiceRefused(text)


def code_of(error: BaseException | None) -> str:
    """The error code of a client's error, without the old protocol's ``AWS.SimpleQueueService.``; or empty."""
    if not isinstance(error, exceptions.ClientError):
        return ""
    return plain(str(error.response.get("Error", {}).get("Code", "")))


def plain(code: str) -> str:
    """An error code under one name, whichever protocol it came by; without ``AWS.SimpleQueueService.`` for instance."""
    return _KMS.get(code) or code.rpartition(".")[2]


def is_missing_queue(error: ServiceError) -> bool:
    """Whether a mapped error says that there is no such queue."""
    return code_of(error.__cause__) in _MISSING_QUEUE
