"""Calls to SQS: the client, made when it is first needed; errors in the contract's words; several calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from drivetrain.contract import AuthenticationFailed, ServiceError
from drivetrain_sqs.clients import Clients
from drivetrain_sqs.errors import CLIENT_ERRORS, mapped
from drivetrain_sqs.options import Options

__all__ = ["Service"]

T = TypeVar("T")

#: Operations, and the method of the client for each.
_METHODS = {
    "ChangeMessageVisibilityBatch": "change_message_visibility_batch",
    "CreateQueue": "create_queue",
    "DeleteMessageBatch": "delete_message_batch",
    "GetQueueAttributes": "get_queue_attributes",
    "GetQueueUrl": "get_queue_url",
    "ReceiveMessage": "receive_message",
    "SendMessageBatch": "send_message_batch",
}


class Service:
    """Makes calls. Thread-safe; may be used again after `close`."""

    def __init__(self, options: Options, connect: Callable[[Options], Clients]) -> None:
        self._options = options
        self._connect = connect
        self._clients: Clients | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def call(self, operation: str, queue: str = "", **parameters: Any) -> dict[str, Any]:
        """The answer to an operation.

        Args:
            operation: as SQS names it.
            queue: its name in SQS, for errors.
            parameters: of the operation.

        Raises:
            ServiceError: mapped from the client's own.
        """
        # Permission for a batch is permission for each of it.
        action = operation.removesuffix("Batch")
        try:
            clients = self._ready()
            client = clients.patient if parameters.get("WaitTimeSeconds") else clients.prompt
            answer: dict[str, Any] = getattr(client, _METHODS[operation])(**parameters)
        except CLIENT_ERRORS as error:
            told = mapped(error, action, queue)
            if isinstance(told, AuthenticationFailed):
                self._forget()  # so that new credentials, of a renewed profile for instance, are seen
            raise told from error
        return answer

    def together(self, calls: Sequence[Callable[[], T]]) -> list[T | ServiceError]:
        """What each gives, or its `ServiceError`; several are made at once. Any other error is raised."""
        if len(calls) == 1:
            return [_outcome(calls[0])]
        pool = self._threads()
        futures = [_begun(pool, each) for each in calls]
        return [_outcome(call) if begun is None else begun.result() for call, begun in zip(calls, futures, strict=True)]

    def close(self) -> None:
        """Let go of connections and threads."""
        self._forget()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _forget(self) -> None:
        with self._lock:
            # Not closed: a receive call may wait in it, and its messages must still be given back. Its connections
            # end with it.
            self._clients = None

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._options.calls_in_flight, thread_name_prefix="drivetrain-sqs")
            return self._pool

    def _ready(self) -> Clients:
        clients = self._clients
        if clients is None:
            with self._lock:
                clients = self._clients = self._clients or self._connect(self._options)
        return clients


def _begun(pool: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T | ServiceError] | None:
    """The call on its way; None if the pool was closed by another thread meanwhile."""
    try:
        return pool.submit(_outcome, call)
    except RuntimeError:
        return None


def _outcome(call: Callable[[], T]) -> T | ServiceError:
    try:
        return call()
    except ServiceError as error:
        return error
