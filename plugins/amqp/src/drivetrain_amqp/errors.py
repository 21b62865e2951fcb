"""The error map: from pika's errors, sockets' errors and RabbitMQ's reply codes to drivetrain's errors."""

from __future__ import annotations

import re
import ssl

from pika import exceptions

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "LOCKED", "NOT_FOUND", "PRECONDITION_FAILED", "Timeout", "reply_code", "translated"]

#: All that pika and sockets raise. Python raises UnicodeError for a host name that cannot be one.
CLIENT_ERRORS = (exceptions.AMQPError, exceptions.ChannelError, exceptions.ReentrancyError, OSError, UnicodeError)


class Timeout(exceptions.AMQPConnectionError):
    """RabbitMQ has not answered in time."""


#: Reply codes of requests that RabbitMQ will refuse again. After any other code the caller may try again.
_REFUSALS = {311, 312, 313, 403, 405, 406, 506, 530, 540}
_ACCESS_REFUSED = 403
#: Reply codes: the object does not exist; it belongs to another connection; a condition does not hold.
NOT_FOUND, LOCKED, PRECONDITION_FAILED = 404, 405, 406

_DIFFERS = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for (?P<what>\w+) '(?P<which>.*)' in vhost.*?: (?P<how>.*)", re.DOTALL
)


def translated(error: Exception, doing: str) -> ServiceError:
    """The drivetrain error for an error of pika, a socket or TLS. The caller raises it from ``error``.

    Args:
        error: the client's error.
        doing: what the driver was doing, as the start of the message ("publishing").
    """
    if isinstance(error, exceptions.ProbableAuthenticationError | exceptions.AuthenticationError):
        return AuthenticationFailed(f"{doing}: {_failed_login(error)}")
    if isinstance(error, exceptions.ProbableAccessDeniedError):
        return ServiceRefused(
            f"{doing}: {_text(error)}; create the virtual host, or give the user permissions for it (rabbitmqctl "
            "add_vhost, set_permissions)"
        )
    if isinstance(error, exceptions.ConnectionClosedByBroker | exceptions.ChannelClosedByBroker):
        return _closed(error, doing)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServiceRefused(
            f"{doing}: the certificate of RabbitMQ is not trusted ({_text(error)}); name its authority with ca_file"
        )
    if isinstance(error, exceptions.MethodNotImplemented | exceptions.UnsupportedAMQPFieldException):
        return ServiceRefused(f"{doing}: {_text(error)}")
    return ServiceUnavailable(f"{doing}: {_text(error)}")


def _failed_login(error: Exception) -> str:
    if isinstance(error, exceptions.AuthenticationError):
        return (
            f"RabbitMQ does not offer the authentication mechanism {_text(error)}; enable it with auth_mechanisms in "
            "rabbitmq.conf, or use other credentials"
        )
    return (
        "RabbitMQ refused the user name or password, or the access token; check the user and password of the URL, or "
        "the credentials or token of driver_options"
    )


def reply_code(error: ServiceError) -> int:
    """RabbitMQ's reply code in the cause of ``error``; 0: there is none."""
    cause = error.__cause__
    return cause.reply_code if isinstance(cause, exceptions.ChannelClosed) else 0


def _closed(error: exceptions.ConnectionClosed | exceptions.ChannelClosed, doing: str) -> ServiceError:
    code, text = error.reply_code, error.reply_text
    if found := _DIFFERS.search(text):
        return ServiceRefused(f"{doing}: {_difference(found)}")
    if code == _ACCESS_REFUSED:
        return ServiceRefused(f"{doing}: RabbitMQ denies access: {text}; give the user the permission")
    if code in _REFUSALS:
        return ServiceRefused(f"{doing}: RabbitMQ refused the request: {text}")
    return ServiceUnavailable(f"{doing}: RabbitMQ closed the connection or channel: {text} ({code})")


def _difference(found: re.Match[str]) -> str:
    what, which, name, how = found["what"], found["which"], found["name"], found["how"]
    return (
        f"the {what} {which!r} exists with another {name!r}: {how.strip()} ('received' is what the URL asks for, "
        "'current' is what exists). Set the same value in the URL (max_priority, queue_type, queue_mode, "
        f"queue_arguments, exchange_type), or use another name or namespace, or delete the {what} when it is empty"
    )


def _text(error: Exception) -> str:
    said = "; ".join(str(each) for each in error.args) or str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
