"""Sockets to a server: by TCP, TLS or a path."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from drivetrain.contract import ConfigurationError, finish_before_forks
from drivetrain_redis.options import Options

if TYPE_CHECKING:
    import ssl

__all__ = ["Address", "dry_errors", "open_socket"]

#: Host and port, or the path of a socket.
Address = tuple[str, int] | str


def open_socket(options: Options, address: Address) -> socket.socket:
    """A socket that is connected, and whose calls end with a TimeoutError after the URL's ``timeout_seconds``.

    Raises:
        OSError: nobody answers there in time, or (`ssl.SSLError`) not as TLS demands.
        ConfigurationError: the certificates that the URL names cannot be used.
    """
    plain = _by_path(options, address) if isinstance(address, str) else _by_tcp(options, address)
    try:
        # A handshake is part of connecting, and is given as long.
        connected = _encrypted(options, plain, address[0]) if options.tls else plain
    except BaseException:
        plain.close()
        raise
    connected.settimeout(options.timeout_seconds)
    return connected


def _by_tcp(options: Options, address: tuple[str, int]) -> socket.socket:
    made = socket.create_connection(address, options.connect_timeout_seconds)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A server whose machine is gone says nothing; who listens for long finds out by this.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return made


def _by_path(options: Options, path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(options.connect_timeout_seconds)
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


def dry_errors(options: Options) -> tuple[type[OSError], ...]:
    """What reading raises when there is nothing to read, from a socket that does not block."""
    if not options.tls:
        return (BlockingIOError,)
    import ssl  # a megabyte, which who uses no TLS need not pay

    return (BlockingIOError, ssl.SSLWantReadError)


def _encrypted(options: Options, plain: socket.socket, host: str) -> socket.socket:
    with finish_before_forks():
        return _context(options).wrap_socket(plain, server_hostname=host)


def _context(options: Options) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=options.trusted)
        if options.own_certificate is not None:
            context.load_cert_chain(options.own_certificate, options.own_key)
    except OSError as error:
        named = [path for path in (options.trusted, options.own_certificate, options.own_key) if path]
        raise ConfigurationError(f"{options.shown}: {' or '.join(named)} cannot be used: {error}") from error
    context.check_hostname = options.checks_hostname
    context.verify_mode = {
        "required": ssl.CERT_REQUIRED,
        "optional": ssl.CERT_OPTIONAL,
        "none": ssl.CERT_NONE,
    }[options.certificate]
    return context
