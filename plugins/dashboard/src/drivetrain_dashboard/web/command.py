"""``drivetrain dashboard``."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import uvicorn

from drivetrain.cli.app_options import app_options, options_of
from drivetrain.cli.logging_setup import FORMATS, set_up_logging
from drivetrain.contract import ConfigurationError
from drivetrain_dashboard.actions.roles import Role
from drivetrain_dashboard.web.application import asgi
from drivetrain_dashboard.web.passwords import User, hash_password
from drivetrain_dashboard.web.users_file import add_user, read_users
from drivetrain_dashboard.web.viewers import (
    Authentication,
    BasicAuthentication,
    ProxyAuthentication,
    is_loopback_host,
)

__all__ = ["dashboard"]

_LEVELS = ("debug", "info", "warning", "error", "critical")
_PORT = 9770
#: How long requests may go on after SIGTERM, in seconds. Live streams never end by themselves.
_GRACE_SECONDS = 3


@click.command()
@click.argument("reference", metavar="MODULE:APP", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="The port.")
@click.option("--users", "users_file", type=click.Path(path_type=Path), help="A file with users: see --add-user.")
@click.option("--add-user", metavar="NAME", help="Ask for a password, write the user to the file of --users, and end.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.READ_ONLY.value,
    show_default=True,
    help="With --add-user: what the user may do. With --user-header: what users without a role may do.",
)
@click.option("--user-header", metavar="HEADER", help="Behind a proxy that authenticates: its header with the user.")
@click.option("--role-header", metavar="HEADER", default="", help="With --user-header: the header with the role.")
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy whose headers are believed: an address, or a network like 10.0.0.0/8. May be repeated.",
)
@click.option("--read-only", is_flag=True, help="Leave all actions out.")
@click.option("--root-path", default="", help="The path below which a proxy serves it, if the proxy keeps that path.")
@click.option("--title", default="", help="The title of all pages, for example the name of the environment.")
@click.option("--cert-file", type=click.Path(exists=True, dir_okay=False), help="A TLS certificate, to serve https.")
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False), help="The key of the certificate.")
@click.option("--log-level", type=click.Choice(_LEVELS, case_sensitive=False), default="info", help="What is logged.")
@click.option("--log-format", type=click.Choice(list(FORMATS)), default="text", help="Text, or one JSON object a line.")
@app_options
@click.pass_context
def dashboard(
    ctx: click.Context,
    /,
    *,
    reference: str | None,
    host: str,
    port: int,
    users_file: Path | None,
    add_user: str | None,
    role: str,
    user_header: str | None,
    role_header: str,
    trusted_proxies: tuple[str, ...],
    read_only: bool,
    root_path: str,
    title: str,
    cert_file: str | None,
    key_file: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Serve the dashboard of an app, until SIGTERM or SIGINT.

    Without --users or --user-header it listens on this machine only, and everybody on it may do everything.
    """
    if add_user is not None:
        _add(users_file, add_user, Role(role))
        return
    authentication = _authentication(users_file, user_header, role_header, trusted_proxies, Role(role))
    _check_host(host, authentication)
    options = options_of(ctx)
    options.app = reference or options.app
    set_up_logging(log_level, log_format)
    with options.open_app() as app:
        application = asgi(
            app,
            authentication=authentication,
            read_only=read_only,
            trusted_proxies=trusted_proxies,
            title=title,
        )
        config = uvicorn.Config(
            application,
            root_path=root_path,
            ssl_certfile=cert_file,
            ssl_keyfile=key_file,
            log_config=None,
            log_level=max(log_level, "warning", key=_LEVELS.index),
            access_log=False,
            server_header=False,
            proxy_headers=False,  # ProxyAuthentication and --trusted-proxy decide whom to believe
            lifespan="off",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        with _listening(host, port) as listener:
            scheme, bound = "https" if cert_file else "http", listener.getsockname()[1]
            address = f"{scheme}://{_in_address(host)}:{bound}{root_path}/"
            click.echo(f"The dashboard of {app.settings.name}: {address}  (Ctrl-C ends it)")
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: the address is not one of this machine, or in use.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {_in_address(host)}:{port}: {error.strerror or error}; choose another --port or --host"
        ) from error


def _authentication(
    users_file: Path | None, user_header: str | None, role_header: str, trusted: tuple[str, ...], role: Role
) -> Authentication | None:
    if users_file is not None and user_header is not None:
        raise click.UsageError("--users and --user-header exclude each other; choose one")
    if users_file is not None:
        return BasicAuthentication(read_users(users_file))
    if user_header is None:
        return None
    if not trusted:
        raise click.UsageError("--user-header needs --trusted-proxy ADDRESS: anybody else could send this header")
    return ProxyAuthentication(trusted=trusted, user_header=user_header, role_header=role_header, default_role=role)


def _check_host(host: str, authentication: Authentication | None) -> None:
    """Check that a dashboard without authentication is not shown to the network.

    Raises:
        ConfigurationError: it would be.
    """
    if authentication is None and not is_loopback_host(host):
        raise ConfigurationError(
            f"--host {host} would show the dashboard to the network, without authentication; add users "
            "(drivetrain dashboard --add-user NAME --role admin --users FILE) and give --users FILE, or use a proxy "
            "that authenticates (--user-header), or listen on 127.0.0.1"
        )


def _add(users_file: Path | None, name: str, role: Role) -> None:
    if users_file is None:
        raise click.UsageError("--add-user needs --users FILE, the file to write")
    password = click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True)
    add_user(users_file, name, User(password_hash=hash_password(password), role=role))
    click.echo(f"Wrote {name} ({role.value}) to {users_file}. A dashboard that runs reads the file when it starts.")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
