"""Every error of pymongo and bson is an error of the contract."""

import inspect
import traceback

import bson.errors
import pymongo.errors
import pytest
from bson import Binary
from pymongo.errors import BulkWriteError, ConfigurationError, OperationFailure, WTimeoutError

from drivetrain.contract import (
    AuthenticationFailed,
    DriverContext,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
    State,
    TooLarge,
    Transition,
)
from drivetrain_mongo import make_backend
from drivetrain_mongo.errors import MONGO_ERRORS, mapped

PLACE = "mongodb://***@host/db"

#: What becomes of each, where it says nothing more.
EXPECTED = {
    "AutoReconnect": ServiceUnavailable,
    "BSONError": ServiceRefused,
    "BulkWriteError": ServiceRefused,
    "ClientBulkWriteException": ServiceRefused,
    "CollectionInvalid": ServiceRefused,
    "ConfigurationError": ServiceRefused,
    "ConnectionFailure": ServiceUnavailable,
    "CursorNotFound": ServiceUnavailable,
    "DocumentTooLarge": TooLarge,
    "DuplicateKeyError": ServiceRefused,
    "EncryptedCollectionError": ServiceRefused,
    "EncryptionError": ServiceRefused,
    "ExecutionTimeout": ServiceUnavailable,
    "InvalidBSON": ServiceRefused,
    "InvalidDocument": ServiceRefused,
    "InvalidId": ServiceRefused,
    "InvalidName": ServiceRefused,
    "InvalidOperation": ServiceUnavailable,
    "InvalidStringData": ServiceRefused,
    "InvalidURI": ServiceRefused,
    "NetworkTimeout": ServiceUnavailable,
    "NotPrimaryError": ServiceUnavailable,
    "OperationFailure": ServiceRefused,
    "ProtocolError": ServiceRefused,
    "PyMongoError": ServiceRefused,
    "ServerSelectionTimeoutError": ServiceUnavailable,
    "WTimeoutError": ServiceUnavailable,
    "WaitQueueTimeoutError": ServiceUnavailable,
    "WriteConcernError": ServiceRefused,
    "WriteError": ServiceRefused,
    "_OperationCancelled": ServiceUnavailable,
}


def _classes():
    found = {
        kind
        for module in (pymongo.errors, bson.errors)
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, (pymongo.errors.PyMongoError, bson.errors.BSONError))
    }
    return sorted(found, key=lambda kind: kind.__name__)


def _made(kind):
    if issubclass(kind, (BulkWriteError, pymongo.errors.ClientBulkWriteException)):
        return kind({"writeErrors": [], "writeConcernErrors": []}, *([True] if kind is not BulkWriteError else []))
    if issubclass(kind, pymongo.errors.EncryptedCollectionError):
        return kind(ValueError("cause"), {})
    if issubclass(kind, pymongo.errors.EncryptionError):
        return kind(ValueError("cause"))
    return kind("what went wrong")


def test_the_map_knows_every_class():
    assert {kind.__name__ for kind in _classes()} == set(EXPECTED)


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_class_is_mapped(kind):
    error = _made(kind)
    assert isinstance(error, MONGO_ERRORS)
    assert type(mapped(error, PLACE)) is EXPECTED[kind.__name__]


@pytest.mark.parametrize("error", [UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), OverflowError("8-byte ints")])
def test_values_that_bson_lacks_are_refused(error):
    assert isinstance(error, MONGO_ERRORS)
    assert type(mapped(error, PLACE)) is ServiceRefused


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (18, "Authentication failed.", AuthenticationFailed),
        (8000, "bad auth : Authentication failed.", AuthenticationFailed),
        (13, "command find requires authentication", AuthenticationFailed),
        (13, "not authorized on work to execute command", ServiceRefused),
        (11600, "interrupted at shutdown", ServiceUnavailable),
        (10107, "not primary", ServiceUnavailable),
        (189, "primary stepped down", ServiceUnavailable),
        (134, "read concern majority is not available yet", ServiceUnavailable),
        (112, "write conflict", ServiceUnavailable),
        (10334, "object to insert too large", TooLarge),
        (14031, "out of disk space", ServiceRefused),
        (None, "no code at all", ServiceRefused),
    ],
)
def test_each_code_of_the_server_has_its_error(code, text, kind):
    details = {"ok": 0, "errmsg": text, **({} if code is None else {"code": code})}
    error = mapped(OperationFailure(text, code, details), PLACE)
    assert type(error) is kind
    assert kind is TooLarge or text in str(error)


@pytest.mark.parametrize("label", ["RetryableWriteError", "SystemOverloadedError"])
def test_an_error_that_the_server_labels_as_transient_is_unavailable(label):
    details = {"errmsg": "x", "code": 99999, "errorLabels": [label]}
    assert type(mapped(OperationFailure("x", 99999, details), PLACE)) is ServiceUnavailable


def test_a_write_that_a_majority_does_not_have_in_time_may_have_been_done():
    details = {"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "waiting for replication timed out"}]}
    assert type(mapped(BulkWriteError(details), PLACE)) is ServiceUnavailable
    assert (
        type(mapped(WTimeoutError("timed out", 64, {"code": 64, "errmsg": "timed out"}), PLACE)) is ServiceUnavailable
    )


def test_names_that_the_dns_does_not_know_may_be_known_later():
    assert type(mapped(ConfigurationError("NXDOMAIN"), PLACE, srv=True)) is ServiceUnavailable


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("tls=true&tlsCAFile=/nowhere/ca.pem", "/nowhere/ca.pem"),
        (f"tls=true&tlsCertificateKeyFile={__file__}", "SSL"),
        ("minPoolSize=5&maxPoolSize=2", "minPoolSize"),
        ("tlsInsecure=true&tlsAllowInvalidCertificates=true", "simultaneously"),
    ],
)
def test_options_by_which_no_client_can_be_made_are_refused(options, words):
    backend = make_backend(f"mongodb://user:hush-hush@127.0.0.1:1/work?{options}", DriverContext())
    with pytest.raises(ServiceRefused, match=words) as caught:
        backend.ping()
    assert caught.value.__cause__ is not None
    assert "hush-hush" not in "".join(traceback.format_exception(caught.value))


def test_documents_of_a_failed_batch_are_never_shown():
    """A batch error quotes every document that failed, and with it results and arguments of tasks."""
    failure = {"index": 0, "code": 121, "errmsg": "Document failed validation", "op": {"payload": Binary(b"hush-hush")}}
    error = BulkWriteError({"writeErrors": [failure], "writeConcernErrors": []})
    assert "hush-hush" in str(error)
    with pytest.raises(ServiceRefused) as caught:
        raise mapped(error, PLACE) from error
    shown = "".join(traceback.format_exception(caught.value))
    assert "Document failed validation" in shown
    assert "hush-hush" not in shown


def test_a_server_that_is_not_there_is_unavailable_and_its_password_is_not_shown():
    backend = make_backend(
        "mongodb://user:hush-hush@127.0.0.1:1/work?authSource=admin&serverSelectionTimeoutMS=50", DriverContext()
    )
    calls = [
        backend.ping,
        lambda: backend.record([Transition(task_id="t", state=State.PENDING, at=1.0)]),
        lambda: backend.wait(["t"], timeout_seconds=1.0),
    ]
    for call in calls:
        with pytest.raises(ServiceUnavailable) as caught:
            call()
        assert isinstance(caught.value.__cause__, pymongo.errors.PyMongoError)
        assert "hush-hush" not in "".join(traceback.format_exception(caught.value))
    backend.close()
    assert "hush-hush" not in repr(backend) + repr(vars(backend))


def test_all_errors_are_service_errors():
    assert all(issubclass(kind, ServiceError) for kind in EXPECTED.values())
