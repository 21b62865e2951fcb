"""``toy://some/directory``: a broker that stores each message as a file, and moves it by renaming.

A message is in one of three directories of its queue: ``pending``, ``held`` (in flight) or ``dead``. The name of its
file has a time (when it is due, its hold ends, or it was dead-lettered), its place in the order of publication, and the
number of its deliveries. Of several processes that rename a file, one succeeds: that keeps consumers apart.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from attrs import frozen

from drivetrain.contract import (
    BrokerCapabilities,
    Clock,
    Delivery,
    DriverContext,
    DriverUrl,
    Durability,
    Message,
    QueueSection,
    QueueSizes,
    ServiceUnavailable,
    WaitLoop,
    check_driver_options,
    evolve,
    hookimpl,
    mark_dead,
    name_digest,
    namespace_option,
    raise_for_faults,
    read_options,
    service_name,
    whole_units,
)

POLL_SECONDS = 0.02  # nothing reports the files of other processes
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
def service_errors() -> Iterator[None]:
    """Raise errors of the file system as errors of the contract."""
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
        self._waits = WaitLoop(clock)
        self._last = 0

    def ping(self) -> None:
        with service_errors():
            self._directory.mkdir(parents=True, exist_ok=True)

    def publish(self, messages: Sequence[Message]) -> None:
        with service_errors():
            for message in messages:
                serial = self._next_serial()
                due = _nanoseconds(message.eta) if message.eta is not None else 0
                self._write(message, Name(max(due, int(serial[:20])), serial))
        with self._changed:
            self._changed.notify_all()

    def receive(
        self, queues: Sequence[str], *, limit: int, wait_seconds: float, hold_seconds: float
    ) -> Sequence[Delivery]:
        def pause(seconds: float) -> None:
            with self._changed:
                self._clock.wait(self._changed, min(seconds, POLL_SECONDS))

        return self._waits.run(lambda: self._take(queues, limit, hold_seconds), pause, timeout_seconds=wait_seconds)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._settle([(delivery, Path.unlink) for delivery in deliveries])

    def release(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        due = _nanoseconds(self._clock.now() + delay_seconds)
        self._settle([(delivery, partial(_move, directory="pending", time=due)) for delivery in deliveries])
        with self._changed:
            self._changed.notify_all()

    def extend(self, deliveries: Sequence[Delivery], *, hold_seconds: float) -> Sequence[bool]:
        until = _nanoseconds(self._clock.now() + hold_seconds)
        return self._settle([(delivery, partial(_move, directory="held", time=until)) for delivery in deliveries])

    def dead_letter(self, deliveries: Sequence[tuple[Delivery, str]]) -> None:
        self._settle([(delivery, partial(self._dead_letter, reason=reason)) for delivery, reason in deliveries])

    def sizes(self, queues: Sequence[str]) -> Mapping[str, QueueSizes]:
        with service_errors():
            return {
                queue: QueueSizes(
                    in_flight=sum(name.time > self._now() for name in self._names(queue, "held")),
                    **{section.value: len(self._files(queue, section)) for section in QueueSection},
                )
                for queue in queues
            }

    def queues(self) -> Sequence[str]:
        return []  # lists_queues is not declared

    def peek(self, queue: str, section: QueueSection, *, limit: int) -> Sequence[Message]:
        with service_errors():
            found = (_read(path) for path in self._files(queue, section))
            return [message for message in found if message is not None][:limit]

    def purge(self, queue: str, section: QueueSection) -> int:
        with service_errors():
            return sum(_done(Path.unlink, path) for path in self._files(queue, section))

    def replay(self, queue: str, message_ids: Sequence[str] | None = None) -> int:
        with service_errors():
            return sum(_done(_move, path, "pending", self._now()) for path in self._dead(queue, message_ids))

    def drop_dead_letters(self, queue: str, message_ids: Sequence[str]) -> int:
        with service_errors():
            return sum(_done(Path.unlink, path) for path in self._dead(queue, message_ids))

    def close(self) -> None:
        self._waits.close()
        with self._changed:
            self._changed.notify_all()

    # Files

    def _now(self) -> int:
        return int(self._clock.now() * 1e9)

    def _next_serial(self) -> str:
        with self._changed:  # it grows, even if the clock is set back
            self._last = max(self._last + 1, self._now())
            return f"{self._last:020}.{uuid.uuid4().hex}"

    def _queue(self, queue: str) -> Path:
        return self._directory / name_digest(queue)  # the name of a queue is any text, and a file's is not

    def _write(self, message: Message, name: Name) -> None:
        fields = {"id": message.id, "queue": message.queue, "priority": message.priority, "eta": message.eta}
        head = json.dumps({**fields, "headers": dict(message.headers)})
        for directory in ("new", "pending", "held", "dead", "reasons"):
            (self._queue(message.queue) / directory).mkdir(parents=True, exist_ok=True)
        new = self._queue(message.queue) / "new" / str(name)
        new.write_bytes(head.encode() + b"\n" + message.body)
        _move(new, "pending", name.time)  # the other processes see a complete file or none

    def _names(self, queue: str, directory: str) -> list[Name]:
        try:
            return sorted(Name.parse(path.name) for path in (self._queue(queue) / directory).iterdir())
        except FileNotFoundError:
            return []  # the queue was never used

    def _files(self, queue: str, section: QueueSection) -> list[Path]:
        """The files of a section, in order. A message whose hold has ended is ready."""
        if section is QueueSection.DEAD:
            return [self._queue(queue) / "dead" / str(name) for name in self._names(queue, "dead")]
        delayed, now = section is QueueSection.DELAYED, self._now()
        directories = ["pending"] if delayed else ["pending", "held"]
        found = [(name, directory) for directory in directories for name in self._names(queue, directory)]
        files = sorted((name, directory) for name, directory in found if (name.time > now) is delayed)
        return [self._queue(queue) / directory / str(name) for name, directory in files]

    def _dead(self, queue: str, message_ids: Collection[str] | None) -> list[Path]:
        dead = [(path, _read(path)) for path in self._files(queue, QueueSection.DEAD)]
        return [path for path, one in dead if one and (message_ids is None or one.id in message_ids)]

    def _take(self, queues: Sequence[str], limit: int, hold_seconds: float) -> list[Delivery]:
        taken: list[Delivery] = []
        with service_errors():
            for queue in queues:
                for path in self._files(queue, QueueSection.READY) if len(taken) < limit else ():
                    until = _nanoseconds(self._clock.now() + hold_seconds)
                    if len(taken) < limit and (delivery := _hand_out(path, until)) is not None:
                        taken.append(delivery)
        return taken

    def _settle(self, settled: Sequence[tuple[Delivery, Callable[[Path], object]]]) -> list[bool]:
        """Do something with the file of each message in flight; whether each is still this consumer's."""
        with service_errors():
            held = {queue: self._held_files(queue) for queue in {one.message.queue for one, _ in settled}}
            return [self._settle_one(one, act, held[one.message.queue].get(one.receipt)) for one, act in settled]

    def _settle_one(self, delivery: Delivery, act: Callable[[Path], object], file: Path | None) -> bool:
        while file is None or not _done(act, file):
            # Another thread may have just extended it, under a new name.
            file = self._held_files(delivery.message.queue).get(delivery.receipt)
            if file is None:
                return False
        return True

    def _held_files(self, queue: str) -> dict[str, Path]:
        """The files of messages in flight, by receipt."""
        held = self._queue(queue) / "held"
        return {_receipt(name): held / str(name) for name in self._names(queue, "held")}

    def _dead_letter(self, path: Path, reason: str) -> None:
        _reason_path(path).write_text(json.dumps(reason))  # before the move: readers of dead letters need it
        _move(path, "dead", self._now())


def _nanoseconds(seconds: float) -> int:
    return whole_units(seconds, per_second=1_000_000_000, longest_seconds=END_OF_TIME)


def _reason_path(path: Path) -> Path:
    return path.parent.parent / "reasons" / Name.parse(path.name).serial


def _receipt(name: Name) -> str:
    return f"{name.serial}-{name.count}"


def _move(path: Path, directory: str, time: int, more: int = 0) -> Path:
    name = Name.parse(path.name)
    moved = path.parent.parent / directory / str(evolve(name, time=time, count=name.count + more))
    path.rename(moved)
    return moved


def _done(act: Callable[..., object], *arguments: object) -> bool:
    """Do something with a file; False if another process was faster."""
    try:
        act(*arguments)
    except FileNotFoundError:
        return False
    return True


def _hand_out(path: Path, until: int) -> Delivery | None:
    try:
        held = _move(path, "held", until, more=1)
    except FileNotFoundError:
        return None  # another consumer was faster
    name, message = Name.parse(held.name), _read(held)
    if message is None:
        return None
    return Delivery(message=message, receipt=_receipt(name), redelivered=name.count > 1, delivery_count=name.count)


def _read(path: Path) -> Message | None:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        message = Message(**json.loads(head), body=body)
        if path.parent.name != "dead":
            return message
        return mark_dead(message, json.loads(_reason_path(path).read_text()), Name.parse(path.name).time / 1e9)
    except FileNotFoundError:
        return None  # another process has moved it since


@hookimpl
def make_broker(url: str, context: DriverContext) -> ToyBroker:
    check_driver_options("toy", context.options)
    parts = DriverUrl.parse(url)
    options, faults = read_options(parts.options, {"namespace": namespace_option})
    if not (parts.netloc + parts.path).strip("/"):
        faults.append("it names no directory; write toy://some/directory or toy:///some/directory")
    raise_for_faults("toy", parts, faults)
    namespace = options.get("namespace", context.namespace)
    directory = context.directory / (parts.netloc + parts.path) / service_name(namespace, also="-")
    return ToyBroker(directory, context.clock)
