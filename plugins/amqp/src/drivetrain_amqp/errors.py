"""From pika's errors, and the server's words, to ours."""

from __future__ import annotations

import re
import ssl

from pika import exceptions

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable

__all__ = ["CLIENT_ERRORS", "LOCKED", "NOT_FOUND", "Timeout", "reply_code", "translated"]

#: All that pika and sockets raise; the last for names of hosts that are none.
CLIENT_ERRORS = (exceptions.AMQPError, exceptions.ChannelError, exceptions.ReentrancyError, OSError, UnicodeError)


class Timeout(exceptions.AMQPConnectionError):
    """The server has not answered in time."""


#: The server's reply codes that say no to what was asked, or to who asks. After any other one may try again.
_REFUSALS = {311, 312, 313, 403, 405, 406, 506, 530, 540}
_LOGIN = 403
#: Its reply codes for what does not exist, and for a queue that is another connection's own.
NOT_FOUND, LOCKED = 404, 405

_DIFFERS = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for (?P<what>\w+) '(?P<which>.*)' in vhost.*?: (?P<how>.*)", re.DOTALL
)


def translated(error: Exception, doing: str) -> ServiceError:
    """The error of ours for one of pika's, of a socket or of TLS; to be raised from it.

    Args:
        error: what was raised.
        doing: what was tried, for the message ("publishing", "connecting to localhost:5672").
    """
    if isinstance(error, exceptions.ProbableAuthenticationError | exceptions.AuthenticationError):
        told = "RabbitMQ refused the user name or password; look at the user and password of the URL"
        return AuthenticationFailed(f"{doing}: {told}")
    if isinstance(error, exceptions.ProbableAccessDeniedError):
        return ServiceRefused(
            f"{doing}: {_text(error)}; the virtual host does not exist, or the user has no permission"
        )
    if isinstance(error, exceptions.ConnectionClosedByBroker | exceptions.ChannelClosedByBroker):
        return _closed(error, doing)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServiceRefused(f"{doing}: the server's certificate is not trusted ({_text(error)}); see ca_file")
    if isinstance(error, exceptions.MethodNotImplemented | exceptions.UnsupportedAMQPFieldException):
        return ServiceRefused(f"{doing}: {_text(error)}")
    return ServiceUnavailable(f"{doing}: {_text(error)}")


def reply_code(error: ServiceError) -> int:
    """RabbitMQ's reply code in the error that ``error`` was raised from; 0: there is none."""
    cause = error.__cause__
    return cause.reply_code if isinstance(cause, exceptions.ChannelClosed) else 0


def _closed(error: exceptions.ConnectionClosed | exceptions.ChannelClosed, doing: str) -> ServiceError:
    code, text = error.reply_code, error.reply_text
    if found := _DIFFERS.search(text):
        return ServiceRefused(f"{doing}: {_difference(found)}")
    if code == _LOGIN:
        return ServiceRefused(f"{doing}: RabbitMQ does not permit it: {text}")
    if code in _REFUSALS:
        return ServiceRefused(f"{doing}: RabbitMQ refused it: {text}")
    return ServiceUnavailable(f"{doing}: RabbitMQ has closed the connection or channel: {text} ({code})")


def _difference(found: re.Match[str]) -> str:
    what, which, name, how = found["what"], found["which"], found["name"], found["how"]
    return (
        f"the {what} {which!r} was declared elsewhere with another {name!r}: {how.strip()} ('received' is what this "
        "URL asks for, 'current' what is there). Say the same in the URL (max_priority, queue_type, queue_mode, "
        f"queue_arguments, exchange_type), or use another name or namespace, or delete the {what} when it is empty"
    )


def _text(error: Exception) -> str:
    said = "; ".join(str(each) for each in error.args) or str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
