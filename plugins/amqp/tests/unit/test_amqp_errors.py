"""The error map is complete."""

import inspect
import itertools
import ssl

import pytest
from pika import exceptions

from drivetrain.contract import (
    AuthenticationFailed,
    ConfigurationError,
    DriverContext,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
)
from drivetrain_amqp import make_broker
from drivetrain_amqp.errors import CLIENT_ERRORS, translated


def _classes():
    return [
        each
        for _, each in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == exceptions.__name__
    ]


def _made(kind):
    for arguments in ((), (1,), (404, "NOT_FOUND"), ([],), ("a", "b")):
        try:
            return kind(*arguments)
        except (TypeError, ValueError):
            continue
    raise AssertionError(f"{kind} cannot be made")


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_error_of_pika_is_translated(kind):
    """The driver catches all of its errors, and translates each."""
    error = _made(kind)
    assert isinstance(error, CLIENT_ERRORS)
    ours = translated(error, "trying")
    assert isinstance(ours, ServiceError)
    assert str(ours).startswith("trying: ")


_CODES = {
    320: ServiceUnavailable, 541: ServiceUnavailable, 504: ServiceUnavailable, 404: ServiceUnavailable,
    403: ServiceRefused, 405: ServiceRefused, 406: ServiceRefused, 506: ServiceRefused, 530: ServiceRefused,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "code"),
    list(itertools.product([exceptions.ChannelClosedByBroker, exceptions.ConnectionClosedByBroker], _CODES)),
)
def test_the_reply_code_decides_whether_to_try_again(kind, code):
    assert type(translated(kind(code, "SAID"), "trying")) is _CODES[code]


def test_refused_passwords_lost_sockets_and_certificates():
    assert type(translated(exceptions.ProbableAuthenticationError("x"), "t")) is AuthenticationFailed
    assert type(translated(ConnectionRefusedError(111, "refused"), "t")) is ServiceUnavailable
    assert type(translated(UnicodeError("label too long"), "t")) is ServiceUnavailable  # of a host's name
    with pytest.raises(ConfigurationError, match="its host is 'aaa"):
        make_broker(f"amqp://{'a' * 70}.invalid", DriverContext())
    assert type(translated(ssl.SSLCertVerificationError("x"), "t")) is ServiceRefused
