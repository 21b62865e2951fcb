"""The SQS queues of an app: their URLs, their attributes, and their creation if the URL has create=true."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from drivetrain.contract import ServiceError
from drivetrain_sqs.connection import Api
from drivetrain_sqs.errors import code_of, is_missing_queue
from drivetrain_sqs.limits import LONGEST_POLL_SECONDS, LONGEST_RETENTION_SECONDS
from drivetrain_sqs.options import Options
from drivetrain_sqs.queue_names import QueueNames, Role

__all__ = ["Queues", "SqsQueue"]

#: The default visibility timeout, for consumers other than this driver, in seconds.
_VISIBILITY_SECONDS = 60
#: The queue name of a ping. The queue need not exist: any answer of SQS proves that it can be reached.
_PING_QUEUE = "drivetrain-ping"
_EXISTS = frozenset({"QueueNameExists", "QueueAlreadyExists"})


@frozen
class SqsQueue:
    """An SQS queue."""

    name: str
    url: str

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return self.name.endswith(".fifo")


class Queues:
    """The SQS queues of an app, each looked up once. Thread-safe: two look-ups at the same time do no harm."""

    def __init__(self, api: Api, options: Options) -> None:
        self._api = api
        self._options = options
        self._names = QueueNames(options.prefix, options.fifo)
        self._known: dict[str, SqsQueue] = {}
        #: Dead-letter queues, by the SQS name of the queue that they serve.
        self._dead: dict[str, SqsQueue] = {}

    def name(self, queue: str, role: Role = Role.MAIN) -> str:
        """The SQS name of a queue."""
        return self._names.of(queue, role)

    def get(self, queue: str, role: Role = Role.MAIN) -> SqsQueue:
        """The SQS queue. Makes it if it does not exist and the URL has create=true.

        Raises:
            ServiceError: it does not exist, or a call failed.
        """
        name = self._names.of(queue, role)
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._existing(name) or self._make(queue, name, role)
        return known

    def find(self, queue: str, role: Role = Role.MAIN) -> SqsQueue | None:
        """The SQS queue, or None if it does not exist; never makes one."""
        name = self._names.of(queue, role)
        if name not in self._known and (found := self._existing(name, allow_missing=True)) is not None:
            self._known[name] = found
        return self._known.get(name)

    def get_for_receiving(self, queue: str, role: Role = Role.MAIN) -> SqsQueue:
        """The SQS queue, for a consumer. Without create=true, its dead-letter queue must exist too.

        Otherwise the first message that cannot be run would stop its worker, perhaps months later.
        """
        sqs_queue = self.get(queue, role)
        if not self._options.create:
            self.get_dead(queue)
        return sqs_queue

    def get_dead(self, queue: str) -> SqsQueue:
        """The dead-letter queue of a queue: the target of its redrive policy, or else the driver's own."""
        main = self.get(queue)
        if main.name not in self._dead:
            self._dead[main.name] = self._redrive_target(main) or self.get(queue, Role.DEAD)
        return self._dead[main.name]

    def find_dead(self, queue: str) -> SqsQueue | None:
        """The dead-letter queue of a queue, or None if it does not exist; never makes one."""
        main = self.find(queue)
        if main is None:
            return None
        if main.name not in self._dead:
            found = self._redrive_target(main) or self.find(queue, Role.DEAD)
            if found is None:
                return None
            self._dead[main.name] = found
        return self._dead[main.name]

    def ping(self) -> None:
        """Return if SQS answers and accepts the credentials."""
        self._existing(self._names.of(_PING_QUEUE), allow_missing=True)

    def forget(self, name: str) -> None:
        """Drop what is known of an SQS queue that was deleted."""
        self._known.pop(name, None)
        self._dead.pop(name, None)
        for source, dead in list(self._dead.items()):
            if dead.name == name:
                self._dead.pop(source, None)

    def attributes(self, queue: SqsQueue, *names: str) -> dict[str, str]:
        """Attributes of an SQS queue."""
        answer = self._api.call("GetQueueAttributes", queue.name, QueueUrl=queue.url, AttributeNames=list(names))
        return dict(answer.get("Attributes", {}))

    def _existing(self, name: str, *, allow_missing: bool = False) -> SqsQueue | None:
        owner = {"QueueOwnerAWSAccountId": self._options.account} if self._options.account else {}
        try:
            answer = self._api.call("GetQueueUrl", name, QueueName=name, **owner)
        except ServiceError as error:
            if is_missing_queue(error) and (allow_missing or self._options.create):
                return None
            raise
        return SqsQueue(name, answer["QueueUrl"])

    def _make(self, queue: str, name: str, role: Role) -> SqsQueue:
        try:
            answer = self._api.call(
                "CreateQueue", name, QueueName=name, Attributes=self._attributes_of_new(queue, name, role)
            )
        except ServiceError as error:
            if code_of(error.__cause__) in _EXISTS and (other := self._existing(name)) is not None:
                return other  # another process has made it meanwhile, with other attributes
            raise
        return SqsQueue(name, answer["QueueUrl"])

    def _attributes_of_new(self, queue: str, name: str, role: Role) -> dict[str, str]:
        attributes: dict[str, Any] = {
            "MessageRetentionPeriod": LONGEST_RETENTION_SECONDS,
            "MaximumMessageSize": self._options.message_bytes,
            "ReceiveMessageWaitTimeSeconds": LONGEST_POLL_SECONDS,
            "VisibilityTimeout": _VISIBILITY_SECONDS,
        }
        if name.endswith(".fifo"):
            attributes |= {
                "FifoQueue": "true",
                # For the throughput of many independent groups.
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
        if role is Role.MAIN and self._options.max_receive_count:
            arn = self.attributes(self.get(queue, Role.DEAD), "QueueArn")["QueueArn"]
            attributes["RedrivePolicy"] = json.dumps(
                {"deadLetterTargetArn": arn, "maxReceiveCount": self._options.max_receive_count}
            )
        return {attribute: str(value) for attribute, value in attributes.items()}

    def _redrive_target(self, main: SqsQueue) -> SqsQueue | None:
        policy = self.attributes(main, "RedrivePolicy").get("RedrivePolicy")
        if not policy:
            return None
        *_, account, name = json.loads(policy)["deadLetterTargetArn"].split(":")
        answer = self._api.call("GetQueueUrl", name, QueueName=name, QueueOwnerAWSAccountId=account)
        return SqsQueue(name, answer["QueueUrl"])
