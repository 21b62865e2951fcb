"""Errors of boto3 and error codes of SQS, mapped to the errors of the contract."""

from __future__ import annotations

from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from botocore import exceptions  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "code_of", "entry_error", "is_missing_queue", "plain", "to_service_error"]


def _known(*names: str) -> tuple[type[Exception], ...]:
    """The classes with these names that the installed botocore has; older versions have fewer."""
    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


#: Every error that a client raises: four base classes, and two classes without a common base.
CLIENT_ERRORS: tuple[type[Exception], ...] = (
    exceptions.BotoCoreError,
    exceptions.ClientError,
    Boto3Error,
    ResponseParserError,
    *_known("UndefinedModelAttributeError", "MissingServiceIdError"),
)

#: The service was not reached, or the answer was not a valid one.
_UNREACHABLE: tuple[type[Exception], ...] = (
    ResponseParserError,
    *_known(
        "HTTPClientError", "ConnectionError", "IncompleteReadError", "ChecksumError", "FlexibleChecksumError",
        "AwsChunkedWrapperError", "MetadataRetrievalError", "CapacityNotAvailableError",
    ),
)  # fmt: skip

#: boto3 found no usable credentials.
_NO_CREDENTIALS = _known(
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError",
    "TokenRetrievalError", "UnknownTokenProviderError", "SSOError", "LoginError", "RefreshWithMFAUnsupportedError",
    "InfiniteLoopConfigError", "UnknownCredentialError", "ProfileNotFound",
)  # fmt: skip

#: Codes of a request that may succeed when it is repeated.
_RETRYABLE = frozenset(
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

#: Codes for credentials that are wrong or have expired.
_BAD_CREDENTIALS = frozenset(
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
#: Codes of KMS errors. The old protocol reports the name that KMS uses, the new one that of SQS.
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

#: Part of SQS's text for a message that exceeds the limit of its queue.
_TOO_LONG = "must be shorter than"

_ADVICE = {
    "ExpiredToken": "the session has ended; get new credentials",
    "ExpiredTokenException": "the session has ended; get new credentials",
    "RequestExpired": "check the clock of this machine",
    "RequestTimeTooSkewed": "check the clock of this machine",
    "SignatureDoesNotMatch": "check the secret key and the clock of this machine",
    "OverLimit": (
        "too many messages of this queue are in flight (120,000, or 20,000 in a FIFO queue); "
        "wait until workers have acknowledged some, or let fewer workers receive from it"
    ),
    "QueueDeletedRecently": "a queue of this name was deleted less than 60 seconds ago; retry after that time",
    "QueueNameExists": "the queue exists with other attributes; remove create=true from the URL to use it as it is",
    "QueueAlreadyExists": "the queue exists with other attributes; remove create=true from the URL to use it as it is",
    "KmsAccessDenied": (
        "the queue is encrypted: allow this identity kms:GenerateDataKey (to send) and kms:Decrypt on its key too"
    ),
    "KmsDisabled": "enable the KMS key that encrypts the queue",
    "KmsInvalidState": "check the state of the KMS key that encrypts the queue",
    "KmsNotFound": "check the KMS key that encrypts the queue; KMS does not find it",
}


def to_service_error(error: Exception, action: str, queue: str = "") -> ServiceError:
    """The error of the contract for an error of boto3. The caller raises it from that one.

    Args:
        error: one of `CLIENT_ERRORS`.
        action: the IAM action without its service: ``SendMessage``.
        queue: the SQS name of the queue; empty if the call names none.
    """
    if isinstance(error, exceptions.ClientError):
        details = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return entry_error(code_of(error), details.get("Message") or "", action, queue, status=status)
    where = f"sqs:{action}{f' on {queue}' if queue else ''}"
    if isinstance(error, _NO_CREDENTIALS):
        return AuthenticationFailed(f"{where}: {error}; set credentials in the environment, in a profile or by a role")
    if isinstance(error, _UNREACHABLE):
        return ServiceUnavailable(f"{where}: {error}")
    if isinstance(error, exceptions.NoRegionError):
        return ServiceRefused(
            f"{where}: no region is set; write one into the URL, like sqs://eu-central-1, or set AWS_REGION"
        )
    return ServiceRefused(f"{where}: {error}")


def entry_error(code: str, message: str, action: str, queue: str, *, status: int = 0) -> ServiceError:
    """The error of the contract for an error code of SQS: that of a call, or that of one entry of a batch.

    Args:
        code: the code, by whichever protocol.
        message: the text of SQS.
        action: the IAM action without its service: ``SendMessage``.
        queue: the SQS name of the queue; empty if the call names none.
        status: the HTTP status; 0: unknown.
    """
    where = f"sqs:{action}{f' on {queue}' if queue else ''}"
    code = plain(code)
    text = f"{where}: {code}" + (f": {message.rstrip('.')}" if message else "")
    if code in _ADVICE:
        text += f"; {_ADVICE[code]}"
    elif _TOO_LONG in message.lower():
        text += "; set message_bytes in the URL to the MaximumMessageSize of the queue"
    if code in _BAD_CREDENTIALS:
        return AuthenticationFailed(text)
    if code in _FORBIDDEN:
        return ServiceRefused(f"{text}; allow this identity the action sqs:{action} (the README has policies)")
    if code in _MISSING_QUEUE:
        return ServiceRefused(
            f"there is no queue {queue} in SQS; create it, or add create=true to the URL (SQS also gives this answer "
            f"to sqs:{action} if this identity has no permission for the queue)"
        )
    if code in _RETRYABLE or status >= 500 or status == 429:
        return ServiceUnavailable(text)
    return ServiceRefused(text)


def code_of(error: BaseException | None) -> str:
    """The error code of a boto3 error in its plain form; empty if it has none. See `plain`."""
    if not isinstance(error, exceptions.ClientError):
        return ""
    return plain(str(error.response.get("Error", {}).get("Code", "")))


def plain(code: str) -> str:
    """The plain form of an error code, the same for both protocols; without ``AWS.SimpleQueueService.``."""
    return _KMS.get(code) or code.rpartition(".")[2]


def is_missing_queue(error: ServiceError) -> bool:
    """Whether an error of `to_service_error` means that the queue does not exist."""
    return code_of(error.__cause__) in _MISSING_QUEUE
