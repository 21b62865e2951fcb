"""Where queues are in SQS: found, or made where that is asked for."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from drivetrain.contract import ServiceError
from drivetrain_sqs.errors import code_of, is_missing_queue
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS, LONGEST_RETENTION_SECONDS
from drivetrain_sqs.names import Names, Role
from drivetrain_sqs.options import Options
from drivetrain_sqs.service import Service

__all__ = ["Queues", "SqsQueue"]

#: What a message that was received by other means than ours is hidden for, in seconds.
_VISIBILITY_SECONDS = 60
#: A queue that need not be there: asking for it needs an answer of SQS, and no queue.
_NOBODYS_QUEUE = "drivetrain-ping"
_EXISTS = frozenset({"QueueNameExists", "QueueAlreadyExists"})


@frozen
class SqsQueue:
    """A queue of SQS."""

    name: str
    url: str

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return self.name.endswith(".fifo")


class Queues:
    """Knows the queues that were used. Thread-safe: finding one twice at the same time does no harm."""

    def __init__(self, service: Service, options: Options) -> None:
        self._service = service
        self._options = options
        self._names = Names(options.prefix, options.fifo)
        self._known: dict[str, SqsQueue] = {}
        #: The places of dead letters, by the name of the queue in SQS.
        self._dead: dict[str, SqsQueue] = {}

    def name(self, queue: str, role: Role = Role.MAIN) -> str:
        """Its name in SQS."""
        return self._names.of(queue, role)

    def find(self, queue: str, role: Role = Role.MAIN) -> SqsQueue:
        """The queue of SQS; made if there is none and the URL asks for that.

        Raises:
            ServiceError: there is none, or it cannot be found out.
        """
        name = self._names.of(queue, role)
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._existing(name) or self._made(queue, name, role)
        return known

    def look(self, queue: str, role: Role = Role.MAIN) -> SqsQueue | None:
        """The queue of SQS, or None if there is none; never makes one."""
        name = self._names.of(queue, role)
        if name not in self._known and (found := self._existing(name, quiet=True)) is not None:
            self._known[name] = found
        return self._known.get(name)

    def find_to_receive(self, queue: str, role: Role = Role.MAIN) -> SqsQueue:
        """The same, for a consumer: one that is not made here must also have a place for its dead letters.

        Otherwise the first message that cannot be run would stop the worker that has it, perhaps months later.
        """
        where = self.find(queue, role)
        if not self._options.create:
            self.find_dead(queue)
        return where

    def find_dead(self, queue: str) -> SqsQueue:
        """Where the dead letters of a queue go: where its own redrive policy says, or to our queue for them."""
        main = self.find(queue)
        if main.name not in self._dead:
            self._dead[main.name] = self._redriven(main) or self.find(queue, Role.DEAD)
        return self._dead[main.name]

    def look_dead(self, queue: str) -> SqsQueue | None:
        """The same, or None if there is none."""
        main = self.look(queue)
        if main is None:
            return None
        if main.name not in self._dead:
            found = self._redriven(main) or self.look(queue, Role.DEAD)
            if found is None:
                return None
            self._dead[main.name] = found
        return self._dead[main.name]

    def reach(self) -> None:
        """Return if SQS answers, and knows who we are."""
        self._existing(self._names.of(_NOBODYS_QUEUE), quiet=True)

    def forget(self, name: str) -> None:
        """Look again next time; for a queue that was deleted."""
        self._known.pop(name, None)
        self._dead.pop(name, None)
        for source, dead in list(self._dead.items()):
            if dead.name == name:
                self._dead.pop(source, None)

    def attributes(self, queue: SqsQueue, *names: str) -> dict[str, str]:
        """Attributes of a queue."""
        answer = self._service.call("GetQueueAttributes", queue.name, QueueUrl=queue.url, AttributeNames=list(names))
        return dict(answer.get("Attributes", {}))

    def _existing(self, name: str, *, quiet: bool = False) -> SqsQueue | None:
        owner = {"QueueOwnerAWSAccountId": self._options.account} if self._options.account else {}
        try:
            answer = self._service.call("GetQueueUrl", name, QueueName=name, **owner)
        except ServiceError as error:
            if is_missing_queue(error) and (quiet or self._options.create):
                return None
            raise
        return SqsQueue(name, answer["QueueUrl"])

    def _made(self, queue: str, name: str, role: Role) -> SqsQueue:
        try:
            answer = self._service.call("CreateQueue", name, QueueName=name, Attributes=self._wanted(queue, name, role))
        except ServiceError as error:
            if code_of(error.__cause__) in _EXISTS and (other := self._existing(name)) is not None:
                return other  # made by somebody else meanwhile, in another way
            raise
        return SqsQueue(name, answer["QueueUrl"])

    def _wanted(self, queue: str, name: str, role: Role) -> dict[str, str]:
        wanted: dict[str, Any] = {
            "MessageRetentionPeriod": LONGEST_RETENTION_SECONDS,
            "MaximumMessageSize": self._options.message_bytes,
            "ReceiveMessageWaitTimeSeconds": LONGEST_POLL_SECONDS,
            "VisibilityTimeout": _VISIBILITY_SECONDS,
        }
        if name.endswith(".fifo"):
            wanted |= {
                "FifoQueue": "true",
                # Groups are many, and have nothing to do with each other.
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
        if role is Role.MAIN and self._options.max_receive_count:
            arn = self.attributes(self.find(queue, Role.DEAD), "QueueArn")["QueueArn"]
            wanted["RedrivePolicy"] = json.dumps(
                {"deadLetterTargetArn": arn, "maxReceiveCount": self._options.max_receive_count}
            )
        return {attribute: str(value) for attribute, value in wanted.items()}

    def _redriven(self, main: SqsQueue) -> SqsQueue | None:
        policy = self.attributes(main, "RedrivePolicy").get("RedrivePolicy")
        if not policy:
            return None
        *_, account, name = json.loads(policy)["deadLetterTargetArn"].split(":")
        answer = self._service.call("GetQueueUrl", name, QueueName=name, QueueOwnerAWSAccountId=account)
        return SqsQueue(name, answer["QueueUrl"])
