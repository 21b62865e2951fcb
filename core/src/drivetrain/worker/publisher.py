"""Publishing: turns invocations into messages with due time, expiry and headers, and hands them to the broker."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec.structs import replace

from drivetrain.contract import (
    FAIR_KEY_HEADER,
    MESSAGE_GROUP_HEADER,
    Delivery,
    Message,
    PublishFailed,
    SerializationError,
    ServiceUnavailable,
    TooLarge,
    Transition,
    evolve,
    message_bytes,
)
from drivetrain.worker.fair_keys import fair_key
from drivetrain.worker.payloads import CONTENT_TYPE_HEADER
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.runtime import Runtime
from drivetrain.worker.send_calls import Send, SharedSendCalls, publish_failures, recorder
from drivetrain.worker.shown import ShownMessages, count_queues
from drivetrain.workflow.frames import WORKFLOW_HEADER, Call, Invocation
from drivetrain.workflow.wire import dump_invocation

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = [
    "BODY_HEADER",
    "ETA_HEADER",
    "EXPIRES_HEADER",
    "FOLLOWS_HEADER",
    "LIMITED_HEADER",
    "PARKED_HEADER",
    "POSTPONED_HEADER",
    "PUBLISHED_HEADER",
    "RESERVED_HEADER",
    "SETTLED_HEADER",
    "Publisher",
    "due",
    "expires_at",
    "first_due",
    "offers",
    "postponed_since",
    "workflow_of",
]

#: When the task is due (Unix seconds). The message may be delivered earlier, if the broker has only short delays.
ETA_HEADER = "drivetrain-eta"
#: After which time the task is not to be started (Unix seconds).
EXPIRES_HEADER = "drivetrain-expires"
#: Under which key the backend keeps the body, when it is too large for the broker (a claim check).
BODY_HEADER = "drivetrain-body"
#: How often the message was offered to other workers because the one that received it could not run it.
OFFERS_HEADER = "drivetrain-offers"

#: When the attempt was postponed first (Unix seconds); see `drivetrain.worker.context.Postpone`.
POSTPONED_HEADER = "drivetrain-postponed"

#: From which rate limit of its task a delayed message has drawn; see `drivetrain.worker.limits.gate`.
RESERVED_HEADER = "drivetrain-reserved"

#: The number of a task in the line of a concurrency limit, and its key; see `drivetrain.worker.limits.line`.
PARKED_HEADER = "drivetrain-parked"

#: For which limits a task has waited, and how long; see `drivetrain.worker.limits.waits`.
LIMITED_HEADER = "drivetrain-limited"

#: Which version of its claim has the arguments of this message; see `drivetrain.worker.limits.uniqueness`.
SETTLED_HEADER = "drivetrain-settled"

#: When the message was published (Unix seconds). For plugins: only apps with a plugin add it.
PUBLISHED_HEADER = "drivetrain-published"

#: The header of messages that a worker published because of another message: when it did (Unix seconds). That other
#: message may be delivered again, also after this task has ended, and publish this task again. So the record of the
#: task must be kept while that may happen.
FOLLOWS_HEADER = "drivetrain-follows"

_NONE: Mapping[str, str] = {}
_RESERVATIONS = frozenset({RESERVED_HEADER, PARKED_HEADER, LIMITED_HEADER})

_HOOKS = ("before_publish", "after_publish", "publish_failed")


def due(message: Message) -> float | None:
    """When the task of a message is due (Unix seconds); None: at once."""
    return _time(message, ETA_HEADER)


def expires_at(message: Message) -> float | None:
    """After which time the task of a message is not to be started (Unix seconds); None: never."""
    return _time(message, EXPIRES_HEADER)


def postponed_since(message: Message) -> float | None:
    """When the attempt of a message was postponed first (Unix seconds); None: it was not."""
    return _time(message, POSTPONED_HEADER)


def _time(message: Message, header: str) -> float | None:
    text = message.headers.get(header)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise SerializationError(f"the header {header} is {text!r}, which is not a time in Unix seconds")
    return seconds


def workflow_of(message: Message) -> str:
    """The id of the first task or group of the workflow of a message; empty: its task is a workflow by itself."""
    return message.headers.get(WORKFLOW_HEADER, "")


def first_due(call: Call, now: float) -> float | None:
    """When the first attempt of a call is due that is sent ``now`` (Unix seconds); None: at once."""
    return _later(call.eta, None if call.delay is None else now + call.delay)


def offers(message: Message) -> int:
    """How often a message was offered to other workers because the one that received it could not run it."""
    text = message.headers.get(OFFERS_HEADER, "0")
    if not text.isdecimal():
        raise SerializationError(f"the header {OFFERS_HEADER} is {text!r}; it must be a whole number, 0 or more")
    return int(text)


class Publisher:
    """Publishes invocations. Thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        retrier: Retrier,
        *,
        worker: bool = False,
        fence: Callable[[], None] | None = None,
        shared: SharedSendCalls | None = None,
    ) -> None:
        """Make it.

        Args:
            runtime: the drivers of the app.
            retrier: retries while a service is unavailable.
            worker: whether messages follow from a delivery, which may be repeated.
            fence: called after tasks are recorded, right before each batch is published; it may raise. None: nothing
                is called, and both may be one step.
            shared: the calls of drivers that concurrent sends share; None: each batch makes its own.
        """
        self._runtime = runtime
        self._retrier = retrier
        self._capabilities = runtime.broker.capabilities
        self._worker = worker
        self._fence = fence
        self._shared = shared
        self._record = runtime.backend.record if shared is None else shared.record
        self._publish = publish_failures(runtime.broker) if shared is None else shared.publish
        #: None: recording and publishing are two steps.
        self._record_and_publish: Callable[[Sequence[Send]], Sequence[bool]] | None = None
        if fence is None and (joined := recorder(runtime)) is not None:
            self._record_and_publish = joined.record_and_publish if shared is None else shared.record_and_publish
        self._observed = any(map(runtime.observers.watches, _HOOKS))
        self._headers = {CONTENT_TYPE_HEADER: runtime.payloads.content_type}
        # The members of a group are published together.
        self._headers_in = lru_cache(100)(lambda workflow: {**self._headers, WORKFLOW_HEADER: workflow})

    def record_and_publish(self, invocations: Sequence[Invocation], pending: Sequence[Transition]) -> None:
        """Record first attempts as PENDING, then publish the granted ones; in one step where the service can.

        A task beyond PENDING was published before, and a task that has ended must not run again.

        Args:
            invocations: the tasks to publish.
            pending: their transitions to PENDING, in the same order. They name the workflow of each task.

        Raises:
            ServiceError: not published, or (PublishFailed) not all of them, or (ServiceUnavailable) not for sure.
        """
        if self._record_and_publish is None:
            outcomes = self._retrier.call("record", lambda: self._record(pending))
            now = self._runtime.clock.now()
            self.publish_messages(
                [
                    self.message(invocation, now, workflow=transition.workflow)
                    for invocation, transition, outcome in zip(invocations, pending, outcomes, strict=True)
                    if outcome.applied
                ]
            )
            return
        record_and_publish, now = self._record_and_publish, self._runtime.clock.now()
        messages = self._store_large_bodies(
            [
                self.message(invocation, now, workflow=transition.workflow)
                for invocation, transition in zip(invocations, pending, strict=True)
            ]
        )
        sends = list(zip(pending, messages, strict=True))

        def publish() -> Sequence[Message]:
            granted = self._retrier.call("send", lambda: record_and_publish(sends))
            return [message for message, yes in zip(messages, granted, strict=True) if yes]

        self._publish_observed(messages, publish)

    def submit(
        self, invocation: Invocation, pending: Transition, loop: AbstractEventLoop
    ) -> Awaitable[Sequence[bool] | None] | None:
        """Record and publish a first attempt as `record_and_publish` does, without blocking: for coroutines.

        Returns:
            What to await: whether it is published, as the only item, or None if that is not sure. None at once: it
            cannot be done without blocking. Unless it is published, use `record_and_publish`.
        """
        shared = self._shared
        if shared is None or self._observed:
            return None
        message = self.message(invocation, self._runtime.clock.now(), workflow=pending.workflow)
        limit = self._capabilities.largest_message_bytes
        if limit is not None and message_bytes(message) > limit:
            return None
        return shared.submit(pending, message, loop)

    def publish_messages(self, messages: Sequence[Message]) -> None:
        """Publish messages unchanged, except that large bodies are stored in the backend."""
        if not messages:
            return
        messages = self._store_large_bodies(messages)
        if self._fence is not None:
            self._fence()

        def publish() -> Sequence[Message]:
            self._hand_over(messages)
            return messages

        self._publish_observed(messages, publish)

    def _publish_observed(self, messages: Sequence[Message], publish: Callable[[], Sequence[Message]]) -> None:
        """Call ``publish``, which returns the published ones of ``messages``; notify observers before and after."""
        if not self._observed:
            publish()
            return
        clock = self._runtime.clock
        self._notify_observers("before_publish", messages)
        began = clock.monotonic()
        try:
            published = publish()
        except BaseException as error:
            self._notify_observers(
                "publish_failed",
                messages,
                queues=count_queues(messages),
                error=error,
                seconds=clock.monotonic() - began,
            )
            raise
        self._notify_observers(
            "after_publish", published, queues=count_queues(published), seconds=clock.monotonic() - began
        )

    def _notify_observers(self, hook: str, messages: Sequence[Message], **details: object) -> None:
        if self._runtime.observers.watches(hook):
            self._runtime.observers.notify(hook, messages=ShownMessages(messages), **details)

    def _hand_over(self, messages: Sequence[Message]) -> None:
        pending = messages

        def publish() -> None:
            nonlocal pending
            answers = self._publish(pending)
            failures = {one.id: error for one, error in zip(pending, answers, strict=True) if error is not None}
            if failures:
                pending = [message for message in pending if message.id in failures]
                failed = PublishFailed(failures)
                if all(isinstance(failure, ServiceUnavailable) for failure in failures.values()):
                    raise ServiceUnavailable(str(failed)) from failed  # retry only these
                raise failed

        try:
            self._retrier.call("publish", publish)
        except PublishFailed:
            # Some were refused. Publish these once more, so that a refusal of one does not depend on the others.
            self._retrier.call("publish", publish)

    def message(self, invocation: Invocation, now: float, *, workflow: str = "", eta: float | None = None) -> Message:
        """The message of an invocation.

        Args:
            invocation: the invocation.
            now: when it is published, in Unix seconds.
            workflow: the id of the first task or group of its workflow; empty: it is a workflow by itself.
            eta: for a retry: when it is due, in Unix seconds.
        """
        call = invocation.call
        headers = self._headers_in(workflow) if workflow else self._headers
        if call.headers:
            headers = {**call.headers, **headers}
        if self._worker:
            headers = {**headers, FOLLOWS_HEADER: f"{now:.3f}"}
        if invocation.attempt == 0:
            eta = first_due(call, now)
            expires = _earlier(call.expires_at, None if call.expires_after is None else now + call.expires_after)
            if expires is not None:
                headers = {**headers, EXPIRES_HEADER: repr(expires)}
        if eta is not None:
            headers = {**headers, ETA_HEADER: repr(eta)}
        if self._runtime.has_plugins:
            headers = {**headers, PUBLISHED_HEADER: repr(now)}
        if self._runtime.registry.fair and (key := fair_key(self._runtime.registry, call)) is not None:
            headers = {**headers, FAIR_KEY_HEADER: key}
        if call.message_group is not None:
            headers = {**headers, MESSAGE_GROUP_HEADER: call.message_group}
        return Message(
            id=call.id,
            queue=call.queue,
            body=self._runtime.payloads.dump_body(dump_invocation(invocation)),
            headers=headers,
            priority=call.priority,
            eta=self.native_eta(eta, now),
        )

    def native_eta(self, eta: float | None, now: float) -> float | None:
        """``eta``, or the longest delay of the broker from now; after that the worker publishes the message again."""
        longest = self._capabilities.longest_delay_seconds
        return eta if eta is None or longest is None else min(eta, now + longest)

    def republish_delayed(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Publish messages that were delivered too early again, for the rest of their delay."""
        self.publish_messages([self._republished(one, self.native_eta(due(one.message), now)) for one in deliveries])

    def offer_again(self, offered: Sequence[tuple[Delivery, float]]) -> None:
        """Publish messages that this worker cannot run again for other workers, each after its delay in seconds."""
        now = self._runtime.clock.now()
        self.publish_messages(
            [
                self._republished(
                    delivery, self.native_eta(now + delay, now), {OFFERS_HEADER: str(offers(delivery.message) + 1)}
                )
                for delivery, delay in offered
            ]
        )

    def publish_later(self, later: Sequence[tuple[Delivery, float, Mapping[str, str]]]) -> None:
        """Publish messages again for the same attempt, each with its due time (Unix seconds) and more headers.

        What was reserved for the earlier due time counts no more, and the waits for limits are those in ``headers``.
        """
        now = self._runtime.clock.now()
        self.publish_messages(
            [
                self._republished(_unreserved(delivery), self.native_eta(eta, now), {ETA_HEADER: repr(eta), **headers})
                for delivery, eta, headers in later
            ]
        )

    def _republished(self, delivery: Delivery, eta: float | None, headers: Mapping[str, str] = _NONE) -> Message:
        # It follows from its own delivery. An earlier value is when its task could have begun, and stays.
        return evolve(delivery.message, headers={FOLLOWS_HEADER: "0", **delivery.message.headers, **headers}, eta=eta)

    def _store_large_bodies(self, messages: Sequence[Message]) -> Sequence[Message]:
        limit = self._capabilities.largest_message_bytes
        if limit is None:
            return messages
        large = {message.id: message for message in messages if message_bytes(message) > limit}
        if not large:
            return messages
        small = {message_id: self._claim_check(message, limit) for message_id, message in large.items()}
        bodies = {small[message_id].headers[BODY_HEADER]: message.body for message_id, message in large.items()}
        self._retrier.call("store large messages", lambda: self._runtime.backend.store_bodies(bodies))
        return [small.get(message.id, message) for message in messages]

    def _claim_check(self, message: Message, limit: int) -> Message:
        # The key depends only on the content, so that storing a body twice stores it once.
        key = f"{message.id}.{blake2b(message.body, digest_size=8).hexdigest()}"
        small = evolve(message, body=b"", headers={**message.headers, BODY_HEADER: key})
        if not self._runtime.backend.capabilities.stores or message_bytes(small) > limit:
            raise TooLarge(f"the message of task {message.id}", message_bytes(message), limit)
        return small


def _unreserved(delivery: Delivery) -> Delivery:
    message = delivery.message
    if _RESERVATIONS.isdisjoint(message.headers):
        return delivery
    headers = {name: text for name, text in message.headers.items() if name not in _RESERVATIONS}
    return replace(delivery, message=evolve(message, headers=headers))


def _later(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)


def _earlier(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)
