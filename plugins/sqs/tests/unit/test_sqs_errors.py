"""Every error of the client has a place in our tree."""

import inspect
import types

import boto3.exceptions
import botocore
import botocore.exceptions
import botocore.parsers
import pytest
from botocore.session import get_session

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable
from drivetrain_sqs.errors import CLIENT_ERRORS, code_of, entry_error, is_missing_queue, to_service_error
from services.sqs_client import client_error

MODULES = (botocore.exceptions, botocore.parsers, boto3.exceptions)


def client_errors():
    found = {
        each
        for module in MODULES
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Exception) and each.__module__ == module.__name__
    }
    return sorted((each for each in found if not issubclass(each, Warning)), key=lambda each: each.__name__)


def service_codes():
    """The error codes of SQS's own description."""
    service = get_session().get_service_model("sqs")
    return sorted({code for shape in service.error_shapes for code in (shape.name, shape.error_code)})


def made(kind):
    """An error of this class, as it looks when it is raised."""
    if issubclass(kind, botocore.exceptions.ClientError):
        return kind({"Error": {"Code": "Unknown"}}, "ReceiveMessage")
    error = kind.__new__(kind)
    Exception.__init__(error, "told by a test")
    return error


def test_there_are_as_many_classes_as_are_known():
    assert len(client_errors()) > 90


@pytest.mark.parametrize("kind", client_errors(), ids=lambda kind: kind.__name__)
def test_every_class_of_the_client_is_caught_and_mapped(kind):
    assert issubclass(kind, CLIENT_ERRORS), f"{kind} would leave the driver as it is"
    mapped = to_service_error(made(kind), "ReceiveMessage", "app-q")
    assert isinstance(mapped, ServiceError)
    assert "ReceiveMessage" in str(mapped)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("EndpointConnectionError", ServiceUnavailable),
        ("ConnectTimeoutError", ServiceUnavailable),
        ("ReadTimeoutError", ServiceUnavailable),
        ("ConnectionClosedError", ServiceUnavailable),
        ("SSLError", ServiceUnavailable),
        ("ProxyConnectionError", ServiceUnavailable),
        ("HTTPClientError", ServiceUnavailable),
        ("MetadataRetrievalError", ServiceUnavailable),
        ("NoCredentialsError", AuthenticationFailed),
        ("PartialCredentialsError", AuthenticationFailed),
        ("CredentialRetrievalError", AuthenticationFailed),
        ("SSOTokenLoadError", AuthenticationFailed),
        ("ProfileNotFound", AuthenticationFailed),
        ("NoRegionError", ServiceRefused),
        ("ParamValidationError", ServiceRefused),
    ],
)
def test_passing_and_permanent_errors_differ(name, ours):
    assert type(to_service_error(made(getattr(botocore.exceptions, name)), "SendMessage")) is ours


@pytest.mark.parametrize("code", service_codes())
def test_every_error_names_the_code_of_sqs(code):
    mapped = entry_error(code.rpartition(".")[2], "why", "SendMessage", "app-q")
    missing = code.rpartition(".")[2] in {"QueueDoesNotExist", "NonExistentQueue"}
    assert missing or code.rpartition(".")[2] in str(mapped)
    assert "app-q" in str(mapped)


@pytest.mark.parametrize(
    ("code", "status", "ours", "says"),
    [
        ("AccessDenied", 403, ServiceRefused, "allow this identity the action sqs:SendMessage"),
        ("AccessDeniedException", 400, ServiceRefused, "sqs:SendMessage"),
        ("ExpiredToken", 403, AuthenticationFailed, "the session has ended"),
        ("InvalidClientTokenId", 403, AuthenticationFailed, "InvalidClientTokenId"),
        ("SignatureDoesNotMatch", 403, AuthenticationFailed, "clock"),
        ("ThrottlingException", 400, ServiceUnavailable, "ThrottlingException"),
        ("RequestThrottled", 403, ServiceUnavailable, "RequestThrottled"),
        ("InternalError", 500, ServiceUnavailable, "InternalError"),
        ("Whatever", 503, ServiceUnavailable, "Whatever"),
        ("OverLimit", 403, ServiceRefused, "120,000, or 20,000"),
        ("QueueDoesNotExist", 400, ServiceRefused, "create=true"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, ServiceRefused, "create=true"),
        ("AWS.SimpleQueueService.QueueDeletedRecently", 400, ServiceUnavailable, "60 seconds"),
        ("QueueNameExists", 400, ServiceRefused, "other attributes"),
        ("KmsDisabled", 400, ServiceRefused, "key"),
        (
            "KMS.DisabledException",
            400,
            ServiceRefused,
            "KmsDisabled: told by a test: KMS.DisabledException; enable the KMS key",
        ),
        ("KMS.AccessDeniedException", 400, ServiceRefused, "kms:GenerateDataKey"),
        ("KmsAccessDenied", 400, ServiceRefused, "kms:Decrypt"),
        ("KMS.ThrottlingException", 400, ServiceUnavailable, "KmsThrottled"),
    ],
)
def test_an_answer_of_the_service_says_what_to_do(code, status, ours, says):
    error = client_error(code, "SendMessageBatch", status)
    mapped = to_service_error(error, "SendMessage", "app-q")
    assert type(mapped) is ours
    assert says in str(mapped)


def test_entries_of_a_batch_have_their_codes_by_any_protocol():
    code = "AWS.SimpleQueueService.RequestThrottled"
    assert type(entry_error(code, "", "SendMessage", "app-q")) is ServiceUnavailable
    assert "kms:Decrypt" in str(entry_error("KMS.AccessDeniedException", "", "ReceiveMessage", "app-q"))


def test_a_message_beyond_the_limit_of_its_queue_names_message_bytes():
    reason = "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes."
    assert "set message_bytes" in str(entry_error("InvalidParameterValue", reason, "SendMessage", "app-q"))


def test_a_missing_queue_is_known_by_its_cause():
    for code in ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "AccessDenied"):
        error = client_error(code)
        mapped = to_service_error(error, "GetQueueUrl", "app-q")
        mapped.__cause__ = error
        assert is_missing_queue(mapped) is (code != "AccessDenied")
    assert code_of(types.SimpleNamespace(response={})) == ""
