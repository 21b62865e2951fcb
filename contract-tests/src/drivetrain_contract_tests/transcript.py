"""What a check has asked a driver, and what it answered: written down meanwhile, and shown as a script afterwards."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any

import msgspec
from attrs import define, field

from drivetrain.contract import Delivery, Message, ValueOutcome, ValueWrite

__all__ = ["Recorded", "Transcript"]

#: How many calls are kept. What was asked before is of no use to a reader.
_LONGEST_CALLS = 300
#: So many calls are shown whatever they are about.
_FEW_CALLS = 30
_LONGEST_ANSWER = 160
#: From how many on, entries of a list that follow from each other are written as one; and how many others are shown.
_FEW, _LONGEST_LIST = 4, 100
#: From which length on, a text of one character is written as a product; and any other is cut.
_LONG_TEXT, _LONGEST_TEXT = 60, 2_000
#: An ETA is written as a time from now, if it is not further away.
_NEAR_SECONDS = 100 * 366 * 86_400.0
_HEAD = """\
import time
from drivetrain.app.discovery import Drivers
from drivetrain.contract import DriverContext, Message, QueueSection, ValueWrite
"""


@define(eq=False)
class _Call:
    """One call of a driver."""

    driver: str
    method: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    at: float = field(factory=time.time)
    thread: str = field(factory=lambda: threading.current_thread().name)
    #: What it has returned or raised; nothing while it runs.
    answer: Any = None
    error: BaseException | None = None
    ended: bool = False


class Transcript:
    """The calls of one check, in the order in which they began. Thread-safe."""

    def __init__(self) -> None:
        self._drivers: dict[str, str] = {}
        self._calls: deque[_Call] = deque(maxlen=_LONGEST_CALLS)
        self._all = 0

    def record(self, driver: Any, made: str) -> Any:
        """A stand-in for a driver that writes down each of its calls.

        Args:
            driver: a broker or backend.
            made: the expression of Python that makes it.
        """
        name = f"{'broker' if hasattr(driver, 'publish') else 'backend'}{len(self._drivers) + 1}"
        self._drivers[name] = made
        return Recorded(driver, name, self)

    def clear(self) -> None:
        """Forget what was written down: the next example of a property is another story."""
        self._drivers.clear()
        self._calls.clear()
        self._all = 0

    def call(self, driver: str, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Make a call, and write it down."""
        call = _Call(driver, method.__name__, arguments, named)
        self._calls.append(call)
        self._all += 1
        try:
            call.answer = method(*arguments, **named)
        except BaseException as error:
            call.error = error
            raise
        finally:
            call.ended = True
        return call.answer

    def script(self) -> str:
        """The calls as Python that can be run; empty when there were none. What a call answered stands behind it."""
        calls = self._told(list(self._calls))
        return "\n".join(_Script(self._drivers, calls, self._all - len(calls)).lines()) if calls else ""

    def _told(self, calls: list[_Call]) -> list[_Call]:
        """All calls, if they are few; else those in the namespace of the last one, since each example has its own."""
        if len(calls) <= _FEW_CALLS:
            return calls
        made = self._drivers[calls[-1].driver]
        return [call for call in calls if self._drivers[call.driver] == made]


class Recorded:
    """A stand-in for a driver: the same, but that its calls are written down."""

    def __init__(self, driver: Any, name: str, transcript: Transcript) -> None:
        self.__dict__.update(_driver=driver, _name=name, _transcript=transcript)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._driver, name)
        if name.startswith("_") or not callable(member) or not hasattr(member, "__name__"):
            return member
        return partial(self._transcript.call, self._name, member)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._driver, name, value)


class _Script:
    """Writes calls as Python."""

    def __init__(self, drivers: dict[str, str], calls: Sequence[_Call], left_out: int) -> None:
        self._drivers, self._calls, self._left_out = drivers, calls, left_out
        self._threads = {call.thread for call in calls}
        #: Where a delivery was received, by its identity: a variable, and the place in it.
        self._received: dict[int, tuple[str, int]] = {}
        #: The expression of a version, by key and version: a service may give other numbers when the script is run.
        self._versions: dict[tuple[str, int], str] = {}

    def lines(self) -> Iterator[str]:
        used = {call.driver for call in self._calls}
        yield _HEAD
        yield from (f"{name} = {made}" for name, made in self._drivers.items() if name in used)
        yield ""
        if self._left_out:
            yield f"# {self._left_out} earlier calls are left out."
        for number, call in enumerate(self._calls):
            yield self._line(number, call)

    def _line(self, number: int, call: _Call) -> str:
        arguments = [self._shown(each, call.at) for each in call.arguments]
        arguments += [f"{name}={self._shown(value, call.at)}" for name, value in call.named.items()]
        asked = f"{call.driver}.{call.method}({', '.join(arguments)})"
        if call.method == "receive" and call.answer:
            variable = f"taken{number}"
            self._received.update({id(each): (variable, place) for place, each in enumerate(call.answer)})
            asked = f"{variable} = {asked}"
        if call.method == "write_values" and call.answer:
            asked = f"written{number} = {asked}"
            self._versions.update(_versions_of(f"written{number}", call))
        thread = f" in {call.thread}" if len(self._threads) > 1 else ""
        return f"{asked}  #{thread} {_answer(call)}"

    def _shown(self, value: Any, at: float) -> str:
        if isinstance(value, Message):
            return _message(value, at)
        if isinstance(value, Delivery):
            variable, place = self._where(value)
            return f"{variable}[{place}]"
        if isinstance(value, ValueWrite):
            return self._write(value)
        if isinstance(value, (list, tuple)) and value:
            return self._sequence(value, at)
        return _plain(value)

    def _write(self, write: ValueWrite) -> str:
        parts = [f"key={_plain(write.key)}", f"value={_plain(write.value)}"]
        if write.if_version is not None:
            parts.append(f"if_version={self._versions.get((write.key, write.if_version), write.if_version)}")
        if write.expires_in_seconds is not None:
            parts.append(f"expires_in_seconds={_plain(write.expires_in_seconds)}")
        return f"ValueWrite({', '.join(parts)})"

    def _where(self, delivery: Delivery) -> tuple[str, int]:
        return self._received.get(id(delivery), ("delivery_of_an_earlier_call", 0))

    def _sequence(self, values: Sequence[Any], at: float) -> str:
        if isinstance(values, tuple) and isinstance(values[0], Delivery):  # a dead letter: a delivery and its reason
            return f"({', '.join(self._shown(each, at) for each in values)})"
        if len(values) >= _FEW and (together := self._together(values, at)) is not None:
            return together
        shown = [self._shown(each, at) for each in values[:_LONGEST_LIST]]
        rest = f", ...  and {len(values) - len(shown)} more" if len(values) > len(shown) else ""
        return f"[{', '.join(shown)}{rest}]"

    def _together(self, values: Sequence[Any], at: float) -> str | None:
        """A list of many entries that follow from each other, as one expression; None: they do not."""
        if all(isinstance(each, Delivery) for each in values):
            return self._slice(values)
        if all(isinstance(each, tuple) for each in values) and len({reason for _, reason in values}) == 1:
            taken = self._slice([delivery for delivery, _ in values])
            return None if taken is None else f"[(each, {_plain(values[0][1])}) for each in {taken}]"
        if all(isinstance(each, Message) for each in values):
            return _numbered(values, at)
        return None

    def _slice(self, deliveries: Sequence[Delivery]) -> str | None:
        """Deliveries that were received one after the other in one call."""
        variable, first = self._where(deliveries[0])
        expected = [(variable, first + number) for number in range(len(deliveries))]
        found = [self._where(each) for each in deliveries]
        return f"{variable}[{first}:{first + len(deliveries)}]" if found == expected else None


def _versions_of(variable: str, call: _Call) -> Iterator[tuple[tuple[str, int], str]]:
    """The versions that a call of `write_values` has given, each with its expression."""
    for place, (write, outcome) in enumerate(zip(call.arguments[0], call.answer, strict=False)):
        if isinstance(outcome, ValueOutcome) and outcome.written and outcome.current is not None:
            yield (write.key, outcome.current.version), f"{variable}[{place}].current.version"


def _numbered(messages: Sequence[Message], at: float) -> str | None:
    """Messages that differ by the number that is their id; or by nothing."""
    first = messages[0]
    if all(each == first for each in messages):
        return f"[{_message(first, at)}] * {len(messages)}"
    if not first.id.isdecimal():
        return None
    start = int(first.id)
    if any(each != msgspec.structs.replace(first, id=f"{start + n}") for n, each in enumerate(messages)):
        return None
    return f"[{_message(first, at, number='{n}')} for n in range({start}, {start + len(messages)})]"


def _message(message: Message, at: float, number: str = "") -> str:
    name = f'f"{number}"' if number else _plain(message.id)
    parts = [f"id={name}", f"queue={_plain(message.queue)}", f"body={_plain(message.body)}"]
    parts += [f"headers={_plain(dict(message.headers))}"] if message.headers else []
    parts += [f"priority={message.priority}"] if message.priority else []
    if message.eta is not None:
        near = abs(message.eta - at) < _NEAR_SECONDS
        parts.append(f"eta=time.time() + {message.eta - at:.3f}" if near else f"eta=float({str(message.eta)!r})")
    return f"Message({', '.join(parts)})"


def _plain(value: Any) -> str:
    """A value as Python writes it; a long text of one character as a product."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (str, bytes)) and len(value) > _LONG_TEXT and len(set(value)) == 1:
        return f"{value[:1]!r} * {len(value)}"
    if isinstance(value, (str, bytes)) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONG_TEXT]!r} + ...  and {len(value) - _LONG_TEXT} more"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain(key)}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return repr(round(value, 3)) if math.isfinite(value) else f"float({str(value)!r})"
    return repr(value)


def _answer(call: _Call) -> str:
    if not call.ended:
        return "had not returned"
    if call.error is not None:
        return f"raised {type(call.error).__name__}: {call.error}"[:_LONGEST_ANSWER].replace("\n", " ")
    return f"-> {_short(call.answer)}"


def _short(answer: Any) -> str:
    if isinstance(answer, (list, tuple)) and answer and isinstance(answer[0], Delivery):
        return f"{len(answer)} deliveries: " + ", ".join(_delivery(each) for each in answer[:3])
    if isinstance(answer, (list, tuple)) and answer and isinstance(answer[0], Message):
        return f"{len(answer)} messages: " + ", ".join(repr(each.id)[:30] for each in answer[:5])
    if isinstance(answer, (list, tuple)) and answer and isinstance(answer[0], ValueOutcome):
        return f"{len(answer)} outcomes: " + ", ".join(_outcome(each) for each in answer[:5])
    if isinstance(answer, msgspec.Struct):
        return repr(msgspec.structs.asdict(answer))[:_LONGEST_ANSWER]
    return repr(answer)[:_LONGEST_ANSWER]


def _delivery(delivery: Delivery) -> str:
    again = ", redelivered" if delivery.redelivered else ""
    count = f", delivery {delivery.delivery_count}" if delivery.delivery_count is not None else ""
    return f"{delivery.message.id[:30]!r}{again}{count}"


def _outcome(outcome: ValueOutcome) -> str:
    current = outcome.current
    what = "nothing" if current is None else f"version {current.version} of {_plain(current.value)[:30]}"
    return f"{'written' if outcome.written else 'refused'}, {what} is stored"
