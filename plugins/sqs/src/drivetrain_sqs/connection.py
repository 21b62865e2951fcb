"""Calls to SQS through boto3: clients, errors of the contract, and several calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from attrs import frozen

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, TlsOptions
from drivetrain_sqs.errors import CLIENT_ERRORS, to_service_error
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS
from drivetrain_sqs.options import Options

__all__ = ["Api", "Clients", "connect"]

T = TypeVar("T")

#: Connections for long polls. boto3 opens more where they are needed, and closes those after use.
_LONG_POLL_CONNECTIONS = 32

#: SQS operations, and the client's method for each.
_METHODS = {
    "ChangeMessageVisibilityBatch": "change_message_visibility_batch",
    "CreateQueue": "create_queue",
    "DeleteMessageBatch": "delete_message_batch",
    "GetQueueAttributes": "get_queue_attributes",
    "GetQueueUrl": "get_queue_url",
    "ReceiveMessage": "receive_message",
    "SendMessageBatch": "send_message_batch",
}


@frozen
class Clients:
    """Two boto3 clients of one session, with different read time-outs. Thread-safe."""

    #: For receive calls that wait for messages.
    long_poll: Any
    #: For all other calls.
    request: Any


class Api:
    """Calls SQS operations. Thread-safe; may be used again after `close`.

    It makes its clients at the first call, because importing boto3 and making a client are slow.

    Args:
        options: the options of the URL.
        connect: makes the clients.
    """

    def __init__(self, options: Options, connect: Callable[[Options], Clients]) -> None:
        self._options = options
        self._connect = connect
        self._clients: Clients | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def call(self, operation: str, queue: str = "", **parameters: Any) -> dict[str, Any]:
        """Call an operation and return its answer.

        Args:
            operation: the operation's name in the API of SQS.
            queue: the SQS name of the queue, for error messages.
            parameters: the parameters of the operation.

        Raises:
            ServiceError: the call failed; chained to boto3's error.
        """
        # IAM has no actions for batches: the permission for SendMessage covers SendMessageBatch.
        action = operation.removesuffix("Batch")
        try:
            clients = self.clients()
            client = clients.long_poll if parameters.get("WaitTimeSeconds") else clients.request
            answer: dict[str, Any] = getattr(client, _METHODS[operation])(**parameters)
        except CLIENT_ERRORS as error:
            service_error = to_service_error(error, action, queue)
            if isinstance(service_error, AuthenticationFailed):
                self._drop_clients()  # the next call reads credentials again, for example those of a renewed profile
            raise service_error from error
        return answer

    def call_all(self, calls: Sequence[Callable[[], T]]) -> list[T | ServiceError]:
        """Make several calls at once. Return for each its result or its `ServiceError`; raise any other error."""
        if len(calls) == 1:
            return [_result_or_error(calls[0])]
        pool = self._threads()
        futures = [_submit(pool, each) for each in calls]
        return [
            _result_or_error(call) if future is None else future.result()
            for call, future in zip(calls, futures, strict=True)
        ]

    def clients(self) -> Clients:
        """The clients, made by the first caller."""
        clients = self._clients
        if clients is None:
            with self._lock:
                clients = self._clients = self._clients or self._connect(self._options)
        return clients

    def close(self) -> None:
        """Drop connections and threads."""
        self._drop_clients()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _drop_clients(self) -> None:
        with self._lock:
            # Not closed: a long poll may wait in a client, and its messages must still be released. A client's
            # connections close when it is garbage.
            self._clients = None

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._options.calls_in_flight, thread_name_prefix="drivetrain-sqs")
            return self._pool


def connect(options: Options) -> Clients:
    """Make the boto3 clients. Slow; reads the AWS configuration, and does no other I/O.

    Raises:
        ServiceRefused: boto3 rejects the endpoint.
        Exception: any of `drivetrain_sqs.errors.CLIENT_ERRORS`.
    """
    session = options.session or _make_session(options)
    poll_seconds = LONGEST_POLL_SECONDS + options.call_timeout_seconds
    return Clients(
        long_poll=_make_client(session, options, _LONG_POLL_CONNECTIONS, poll_seconds),
        request=_make_client(session, options, 2 * options.calls_in_flight, options.call_timeout_seconds),
    )


def _make_session(options: Options) -> Any:
    from boto3.session import Session  # type: ignore[import-untyped]
    from botocore.session import get_session  # type: ignore[import-untyped]

    key, secret = options.credentials or (None, None)
    core = get_session()
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    return Session(
        botocore_session=core,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=options.region or None,
        profile_name=options.profile or None,
    )


def _make_client(session: Any, options: Options, connections: int, timeout_seconds: float) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]

    ours = Config(
        # Core retries, with back-off.
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=min(options.connect_timeout_seconds, timeout_seconds),
        read_timeout=timeout_seconds,
        max_pool_connections=connections,
        tcp_keepalive=True,
        **_client_certificate(options.tls),
    )
    config = ours if options.config is None else options.config.merge(ours)
    region, endpoint = options.region or None, options.endpoint or None
    try:
        return session.client(
            "sqs", region_name=region, endpoint_url=endpoint, config=config, verify=_verification(options.tls)
        )
    except ValueError as error:
        raise ServiceRefused(
            f"boto3 rejects the endpoint {options.endpoint}: {error}; correct the host of the SQS URL"
        ) from error


def _client_certificate(tls: TlsOptions | None) -> dict[str, Any]:
    if tls is None or not tls.cert_file:
        return {}
    return {"client_cert": (tls.cert_file, tls.key_file) if tls.key_file else tls.cert_file}


def _verification(tls: TlsOptions | None) -> bool | str | None:
    """How boto3 checks the server's certificate; None: as the AWS configuration says, or by its own authorities."""
    if tls is None:
        return None
    return (tls.ca_file or None) if tls.verify else False


@cache
def _loader(path: str | None) -> Any:
    """A loader of botocore's service descriptions. They are large and the same for all clients, so it loads them once.

    The cache keeps one loader for each search path.
    """
    from botocore.loaders import create_loader  # type: ignore[import-untyped]

    return create_loader(path)


def _submit(pool: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T | ServiceError] | None:
    """Start the call in the pool. None if another thread has closed the pool meanwhile."""
    try:
        return pool.submit(_result_or_error, call)
    except RuntimeError:
        return None


def _result_or_error(call: Callable[[], T]) -> T | ServiceError:
    try:
        return call()
    except ServiceError as error:
        return error
