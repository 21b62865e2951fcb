"""``toy://some/directory``: a broker that keeps each message as a file, and moves it by renaming.

A message lies in one of three directories of its queue. Its file's name says when it is due (in ``held``: when its hold
ends; in ``dead``: when it died), then in which order it was published, then how often it was handed out. Of several
who rename a file, one succeeds: that is all that keeps consumers apart.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from attrs import frozen

from drivetrain.contract import (
    DEAD_AT_HEADER,
    DEAD_REASON_HEADER,
    BrokerCapabilities,
    Clock,
    ConfigurationError,
    Delivery,
    DriverContext,
    DriverUrl,
    Durability,
    Message,
    QueueSection,
    QueueSizes,
    ServiceUnavailable,
    evolve,
    hookimpl,
    namespace_option,
    read_options,
    service_name,
)

POLL_SECONDS = 0.02  # other processes' files tell nobody
END_OF_TIME = 1e10  # in the year 2286; an ETA may be any number, even infinity


@frozen(order=True)
class Name:
    """The name of a message's file."""

    time: int  # nanoseconds
    serial: str
    count: int = 0

    def __str__(self) -> str:
        return f"{self.time:020}-{self.serial}-{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        time, serial, count = text.split("-")
        return cls(int(time), serial, int(count))


@contextmanager
def told_apart() -> Iterator[None]:
    """What the file system refuses is said in drivetrain's words."""
    try:
        yield
    except OSError as error:
        raise ServiceUnavailable(f"the directory cannot be used: {error.strerror}") from error


class ToyBroker:
    capabilities = BrokerCapabilities(
        durability=Durability.PROCESS,  # written, but not flushed to the disk
        delay_resolution_seconds=0.2,
        ordered=True,
        counts_deliveries=True,
        peeks=True,
    )

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._changed = threading.Condition()
        self._last = 0
        self._closings = 0

    def ping(self) -> None:
        with told_apart():
            self._directory.mkdir(parents=True, exist_ok=True)

    def publish(self, messages: Sequence[Message]) -> None:
        with told_apart():
            for message in messages:
                serial = self._next_serial()
                due = _nanoseconds(message.eta) if message.eta is not None else 0
                self._write(message, Name(max(due, int(serial[:20])), serial))
        with self._changed:
            self._changed.notify_all()

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        end = self._clock.monotonic() + wait_seconds
        with self._changed:
            closings = self._closings
        while True:
            taken = self._take(queues, limit, hold_seconds)
            left = end - self._clock.monotonic()
            if taken or left <= 0:
                return taken
            with self._changed:
                if closings != self._closings:
                    return []
                self._clock.wait(self._changed, min(left, POLL_SECONDS))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._settle(delivery, Path.unlink)

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        for delivery in deliveries:
            due = _nanoseconds(self._clock.now() + delay_seconds)
            self._settle(delivery, partial(_move, place="pending", time=due))
        with self._changed:
            self._changed.notify_all()

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        until = _nanoseconds(self._clock.now() + hold_seconds)
        return [self._settle(delivery, partial(_move, place="held", time=until)) for delivery in deliveries]

    def dead_letter(self, letters: Sequence[tuple[Delivery, str]]) -> None:
        for delivery, reason in letters:
            self._settle(delivery, partial(self._bury, reason=reason))

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        places = {"ready": QueueSection.READY, "delayed": QueueSection.DELAYED, "dead": QueueSection.DEAD}
        with told_apart():
            return {
                queue: QueueSizes(
                    held=sum(name.time > self._now() for name in self._names(queue, "held")),
                    **{what: len(self._lying(queue, place)) for what, place in places.items()},
                )
                for queue in queues
            }

    def queues(self) -> Sequence[str]:
        return []  # lists_queues is not declared

    def peek(self, queue: str, place: QueueSection, *, limit: int) -> Sequence[Message]:
        with told_apart():
            found = (_read(path) for path in self._lying(queue, place))
            return [message for message in found if message is not None][:limit]

    def purge(self, queue: str, place: QueueSection) -> int:
        with told_apart():
            return sum(_done(Path.unlink, path) for path in self._lying(queue, place))

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        with told_apart():
            return sum(_done(_move, path, "pending", self._now()) for path in self._dead(queue, message_ids))

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        with told_apart():
            return sum(_done(Path.unlink, path) for path in self._dead(queue, message_ids))

    def close(self) -> None:
        with self._changed:
            self._closings += 1
            self._changed.notify_all()

    # Files

    def _now(self) -> int:
        return int(self._clock.now() * 1e9)

    def _next_serial(self) -> str:
        with self._changed:  # of one sender, later is larger, whatever the clock does
            self._last = max(self._last + 1, self._now())
            return f"{self._last:020}.{uuid.uuid4().hex}"

    def _queue(self, queue: str) -> Path:
        # A name may be longer than a file's may be, and hold any sign.
        return self._directory / hashlib.sha256(queue.encode("utf-8", "surrogatepass")).hexdigest()

    def _write(self, message: Message, name: Name) -> None:
        told = {"id": message.id, "queue": message.queue, "headers": dict(message.headers)}
        head = json.dumps({**told, "priority": message.priority, "eta": message.eta})
        for place in ("new", "pending", "held", "dead"):
            (self._queue(message.queue) / place).mkdir(parents=True, exist_ok=True)
        new = self._queue(message.queue) / "new" / str(name)
        new.write_bytes(head.encode() + b"\n" + message.body)
        _move(new, "pending", name.time)  # whole, or not there

    def _names(self, queue: str, place: str) -> list[Name]:
        try:
            return sorted(Name.parse(path.name) for path in (self._queue(queue) / place).iterdir())
        except FileNotFoundError:
            return []  # never used

    def _lying(self, queue: str, place: QueueSection) -> list[Path]:
        """The files of a queue that lie there, in order; a message whose hold has ended is ready."""
        if place is QueueSection.DEAD:
            return [self._queue(queue) / "dead" / str(name) for name in self._names(queue, "dead")]
        late, now = place is QueueSection.DELAYED, self._now()
        found = [(name, where) for where in ("pending", "held") for name in self._names(queue, where)]
        kept = [(name, where) for name, where in found if (name.time > now) is late and not (late and where == "held")]
        return [self._queue(queue) / where / str(name) for name, where in sorted(kept)]

    def _dead(self, queue: str, message_ids: Collection[str] | None) -> list[Path]:
        dead = [(path, _read(path)) for path in self._lying(queue, QueueSection.DEAD)]
        return [path for path, one in dead if one and (message_ids is None or one.id in message_ids)]

    def _take(self, queues: Sequence[str], limit: int, hold_seconds: float) -> list[Delivery]:
        taken: list[Delivery] = []
        with told_apart():
            for queue in queues:
                for path in self._lying(queue, QueueSection.READY) if len(taken) < limit else ():
                    until = _nanoseconds(self._clock.now() + hold_seconds)
                    if len(taken) < limit and (delivery := _hand_out(path, until)) is not None:
                        taken.append(delivery)
        return taken

    def _settle(self, delivery: Delivery, act: Callable[[Path], object]) -> bool:
        """Do something with the file of a held message; whether it is still this consumer's."""
        held = self._queue(delivery.message.queue) / "held"
        with told_apart():
            while True:
                names = self._names(delivery.message.queue, "held")
                mine = next((name for name in names if _receipt(name) == delivery.receipt), None)
                if mine is None:
                    return False
                if _done(act, held / str(mine)):
                    return True  # otherwise another thread has extended it at this very moment: look again

    def _bury(self, path: Path, reason: str) -> None:
        name = Name.parse(path.name)
        reasons = path.parent.parent / "reasons"
        reasons.mkdir(exist_ok=True)
        (reasons / name.serial).write_text(json.dumps(reason))  # first: nobody looks at it before the file moves
        _move(path, "dead", self._now())


def _nanoseconds(seconds: float) -> int:
    return math.ceil(min(max(0.0, seconds), END_OF_TIME) * 1e9)  # never early


def _receipt(name: Name) -> str:
    return f"{name.serial}-{name.count}"


def _move(path: Path, place: str, time: int, more: int = 0) -> Path:
    name = Name.parse(path.name)
    moved = path.parent.parent / place / str(evolve(name, time=time, count=name.count + more))
    path.rename(moved)
    return moved


def _done(act: Callable[..., object], *arguments: object) -> bool:
    """Whether nobody else was faster."""
    try:
        act(*arguments)
    except FileNotFoundError:
        return False
    return True


def _hand_out(path: Path, until: int) -> Delivery | None:
    try:
        held = _move(path, "held", until, more=1)
    except FileNotFoundError:
        return None  # another consumer's now
    name, message = Name.parse(held.name), _read(held)
    if message is None:
        return None
    return Delivery(message=message, receipt=_receipt(name), redelivered=name.count > 1, delivery_count=name.count)


def _read(path: Path) -> Message | None:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        message = Message(**json.loads(head), body=body)
        return evolve(message, headers={**message.headers, **_death(path)}) if path.parent.name == "dead" else message
    except FileNotFoundError:
        return None  # it was moved since it was seen


def _death(path: Path) -> dict[str, str]:
    name = Name.parse(path.name)
    reason = json.loads((path.parent.parent / "reasons" / name.serial).read_text())
    return {DEAD_REASON_HEADER: reason, DEAD_AT_HEADER: repr(name.time / 1e9)}


@hookimpl
def make_broker(url: str, context: DriverContext) -> ToyBroker:
    parts = DriverUrl.parse(url)
    options, faults = read_options(parts.options, {"namespace": namespace_option})
    if not (parts.netloc + parts.path).strip("/"):
        faults.append("it names no directory; write toy://some/directory or toy:///some/directory")
    if faults:
        raise ConfigurationError(f"{parts.shown} is no URL of the toy driver", faults)
    namespace = options.get("namespace", context.namespace)
    directory = context.directory / (parts.netloc + parts.path) / service_name(namespace, also="-")
    return ToyBroker(directory, context.clock)
