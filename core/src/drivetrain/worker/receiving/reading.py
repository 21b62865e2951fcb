"""Reads messages: loads their bodies, and decodes the calls in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from drivetrain.contract import Delivery, SerializationError, State, TaskRecord
from drivetrain.worker.downstream import Downstream, load_downstream
from drivetrain.worker.execution import error_text
from drivetrain.worker.finishing.acknowledging import Acknowledger
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.publisher import BODY_HEADER, PUBLISHED_HEADER, due, expires_at, offers
from drivetrain.worker.receiving.rejecting import Rejecter
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import WORKFLOW_HEADER, Call, Invocation
from drivetrain.workflow.wire import load_invocation

__all__ = ["MessageReader", "Received"]


class Received(Struct, frozen=True, eq=False):
    """A delivery whose message is readable."""

    delivery: Delivery
    invocation: Invocation
    #: When the task is due, in Unix seconds; None: at once.
    due: float | None
    #: The time after which the task must not start, in Unix seconds; None: it may start at any time.
    expires_at: float | None
    #: How often the message was offered to other workers.
    offers: int

    @property
    def task_id(self) -> str:
        """The id of its task."""
        return self.invocation.call.id


class _BodyGone(SerializationError):
    """The backend has no body for the claim check of a message."""


class MessageReader:
    """Reads messages, and rejects those that are unreadable. Used by one thread."""

    def __init__(self, runtime: Runtime, *, rejecter: Rejecter, acknowledger: Acknowledger, retrier: Retrier) -> None:
        self._runtime = runtime
        self._rejecter = rejecter
        self._acknowledger = acknowledger
        self._retrier = retrier

    def read(self, deliveries: Sequence[Delivery]) -> Iterator[Received]:
        """The readable ones of ``deliveries``; the other ones are settled."""
        bodies = self._load_bodies(deliveries)
        for delivery in deliveries:
            try:
                received = self._decode(delivery, bodies)
            except Exception as error:  # noqa: BLE001 - any message or serializer error makes a message unreadable; it is logged and dead-lettered
                self._settle_unreadable(delivery, error)
            else:
                yield received

    def _load_bodies(self, deliveries: Sequence[Delivery]) -> Mapping[str, bytes | None]:
        keys = [key for one in deliveries if (key := one.message.headers.get(BODY_HEADER)) is not None]
        if not keys:
            return {}
        bodies = self._retrier.call("load bodies", lambda: self._runtime.backend.load_bodies(keys))
        return dict(zip(keys, bodies, strict=True))

    def _decode(self, delivery: Delivery, bodies: Mapping[str, bytes | None]) -> Received:
        message = delivery.message
        headers = message.headers
        # Most messages have only the content type, and their workflow.
        has_details = len(headers) > 1 + (WORKFLOW_HEADER in headers) + (PUBLISHED_HEADER in headers)
        details = (due(message), expires_at(message), offers(message)) if has_details else (None, None, 0)
        key = headers.get(BODY_HEADER)
        body = message.body if key is None else bodies[key]
        if body is None:
            raise _BodyGone(f"the backend no longer has the body of this message ({key})")
        invocation = load_invocation(self._runtime.payloads.load_body(headers.get(CONTENT_TYPE_HEADER), body))
        return Received(delivery, invocation, *details)

    def _settle_unreadable(self, delivery: Delivery, error: Exception) -> None:
        message = delivery.message
        record = self._retrier.call("read", lambda: self._runtime.backend.read([message.id]))[0]
        if isinstance(error, _BodyGone) and record is not None and record.state is not State.PENDING:
            # A body is dropped after its message was settled, so this is a repeated delivery of a settled message.
            self._acknowledger.acknowledge_copied([delivery])
            return
        call = Call(id=message.id, task=record.task if record else "", queue=message.queue)
        known = self._known(record)
        invocation = Invocation(call=call, frames=known.frames, rest=known.rest)
        self._rejecter.dead_letter(delivery, invocation, f"unreadable: {error_text(error)}", error)

    def _known(self, record: TaskRecord | None) -> Downstream:
        """What depends on a task whose message is unreadable, from its record."""
        known = None if record is None else load_downstream(record, self._runtime.payloads)
        return known if isinstance(known, Downstream) else Downstream()
