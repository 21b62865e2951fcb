"""Clients of SQS, as this driver wants them: they try once, and wait as long as a poll does."""

from __future__ import annotations

from functools import cache
from typing import Any

from attrs import frozen

from drivetrain.contract import ServiceRefused
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS
from drivetrain_sqs.options import Options

__all__ = ["Clients", "connect"]

_CONNECT_SECONDS = 5
#: Receive calls that wait, beside those that do not: connections beyond are made and thrown away.
_WAITING_CONNECTIONS = 32


@frozen
class Clients:
    """Two clients of one session. Thread-safe."""

    #: For calls that wait for messages.
    patient: Any
    #: For all others, which are answered soon or not at all.
    prompt: Any


def connect(options: Options) -> Clients:
    """Make clients; slow, and without I/O but for the AWS configuration.

    Raises:
        ServiceRefused: there can be no client for this endpoint.
        Exception: any of `drivetrain_sqs.errors.CLIENT_ERRORS`.
    """
    # Slow to import and to make, so only for who calls.
    from boto3.session import Session  # type: ignore[import-untyped]
    from botocore.session import get_session  # type: ignore[import-untyped]

    key, secret = options.credentials or (None, None)
    core = get_session()
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    session = Session(
        botocore_session=core,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=options.region or None,
        profile_name=options.profile or None,
    )
    return Clients(
        patient=_client(session, options, _WAITING_CONNECTIONS, LONGEST_POLL_SECONDS + options.timeout_seconds),
        prompt=_client(session, options, 2 * options.calls_in_flight, options.timeout_seconds),
    )


def _client(session: Any, options: Options, connections: int, timeout_seconds: int) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]

    config = Config(
        # Core tries again, with back-off.
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=min(_CONNECT_SECONDS, timeout_seconds),
        read_timeout=timeout_seconds,
        max_pool_connections=connections,
        tcp_keepalive=True,
    )
    try:
        return session.client("sqs", endpoint_url=options.endpoint or None, config=config)
    except ValueError as error:
        raise ServiceRefused(f"the endpoint {options.endpoint} is no URL for a client: {error}") from error


@cache
def _loader(path: str | None) -> Any:
    """Reads the descriptions of AWS's services, which are large and the same for every client, once."""
    from botocore.loaders import create_loader  # type: ignore[import-untyped]

    return create_loader(path)
