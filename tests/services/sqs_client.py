"""A client of SQS that does what AWS may do and imitations never do, and that counts what it is asked."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from botocore.exceptions import ClientError

__all__ = ["Calls", "Faults", "FaultyClient", "client_error"]

_BATCHES = ("send_message_batch", "delete_message_batch", "change_message_visibility_batch")


def client_error(code: str, operation: str = "ReceiveMessage", status: int = 400) -> ClientError:
    """An error as botocore raises it."""
    told: Any = {
        "Error": {"Code": code, "Message": f"told by a test: {code}"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(told, operation)


@define(eq=False)
class Calls:
    """What was asked. Thread-safe."""

    made: list[tuple[str, Mapping[str, Any]]] = field(factory=list)
    _lock: Any = field(factory=threading.Lock)

    def note(self, method: str, parameters: Mapping[str, Any]) -> None:
        """Take note of a call."""
        with self._lock:
            self.made.append((method, parameters))

    def counts(self) -> Counter[str]:
        """How often each method was called."""
        with self._lock:
            return Counter(method for method, _ in self.made)

    def of(self, method: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The calls of one method, in their order."""
        with self._lock:
            return [call for call in self.made if call[0] == method]

    def actions(self) -> set[str]:
        """The IAM actions that the calls need."""
        words = {"".join(word.title() for word in method.split("_")) for method in self.counts()}
        return {f"sqs:{word.removesuffix('Batch')}" for word in words}


@define(eq=False)
class Faults:
    """How often what goes wrong, from 0 to 1; drawn from a seed."""

    seed: int = 0
    #: A message that was received comes once more, at once.
    duplicates: float = 0.0
    #: An entry of a batch is not done, and said not to be.
    failing_entries: float = 0.0
    #: The code of these, which says whose fault it is.
    failing_code: str = "InternalError"
    #: A call is refused before it is done.
    throttling: float = 0.0
    #: A call is done, and its answer is lost.
    lost_answers: float = 0.0
    #: A receive call comes back empty although there are messages.
    hiding: float = 0.0
    #: Whether messages are shuffled.
    reordering: bool = False
    #: Raised by the next call of a method, once.
    next_errors: dict[str, list[Exception]] = field(factory=dict)
    #: How often each of these happened.
    happened: Counter[str] = field(factory=Counter)
    _random: random.Random = field(init=False)
    _lock: Any = field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def strikes(self, kind: str) -> bool:
        """Whether this goes wrong now."""
        with self._lock:
            struck = self._random.random() < getattr(self, kind)
            self.happened[kind] += struck
            return struck

    def shuffled(self, items: list[Any]) -> list[Any]:
        """In another order."""
        with self._lock:
            return self._random.sample(items, len(items)) if self.reordering else items

    def next_error(self, method: str) -> Exception | None:
        """What was set to be raised by this call."""
        with self._lock:
            waiting = self.next_errors.get(method)
            return waiting.pop(0) if waiting else None


class FaultyClient:
    """Stands between the driver and a client of boto3."""

    def __init__(self, client: Any, calls: Calls, faults: Faults | None = None) -> None:
        self._client = client
        self._calls = calls
        self._faults = faults or Faults()
        self._twice: dict[str, list[Any]] = {}

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            return self._call(method, parameters)

        return call

    def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        self._calls.note(method, parameters)
        if (error := self._faults.next_error(method)) is not None:
            raise error
        if self._faults.strikes("throttling"):
            raise client_error("ThrottlingException", method)
        answer = self._done(method, parameters)
        if method != "receive_message" and self._faults.strikes("lost_answers"):
            raise client_error("InternalError", method, 500)
        return answer

    def _done(self, method: str, parameters: dict[str, Any]) -> Any:
        real = getattr(self._client, method)
        if method == "receive_message":
            return self._received(real, parameters)
        if method in _BATCHES:
            return self._batch(real, parameters)
        return real(**parameters)

    def _batch(self, real: Callable[..., Any], parameters: dict[str, Any]) -> Any:
        failing = [entry for entry in parameters["Entries"] if self._faults.strikes("failing_entries")]
        rest = [entry for entry in parameters["Entries"] if entry not in failing]
        answer = dict(real(**{**parameters, "Entries": rest})) if rest else {"Successful": []}
        code = self._faults.failing_code
        told = [{"Id": each["Id"], "Code": code, "SenderFault": code != "InternalError"} for each in failing]
        return {**answer, "Failed": [*answer.get("Failed", ()), *told]}

    def _received(self, real: Callable[..., Any], parameters: dict[str, Any]) -> Any:
        if self._faults.strikes("hiding"):
            return {}
        room, url = parameters["MaxNumberOfMessages"], parameters["QueueUrl"]
        twice = self._twice.setdefault(url, [])
        again = [twice.pop() for _ in range(min(len(twice), room))]
        found = [] if len(again) == room else list(
            real(**{**parameters, "MaxNumberOfMessages": room - len(again),
                    "WaitTimeSeconds": 0 if again else parameters["WaitTimeSeconds"]}).get("Messages", ())
        )  # fmt: skip
        twice += [each for each in found if self._faults.strikes("duplicates")]
        return {"Messages": self._faults.shuffled([*again, *found])}
