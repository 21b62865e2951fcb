"""Where a built-in type is annotated, an instance of a subclass travels as that type."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import importlib.util
import ipaddress
import json
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, TypedDict

import pytest

from drivetrain import App, InvalidArguments
from drivetrain.workflow.values import ValueMismatch, Values

VALUES = Values()
WAIT = 20


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.StrEnum):
    READ = "read"


class OldMode(str, enum.Enum):  # noqa: UP042 - as it was written before Python 3.11
    READ = "read"


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Pair(NamedTuple):
    a: int
    b: str


class Options(TypedDict, total=False):
    depth: int


class Liar:
    """What its own methods say is not what it is."""

    def _lie(self, *_: Any) -> Any:
        raise AssertionError("a method of a subclass was asked")

    __int__ = __float__ = __index__ = __str__ = __repr__ = __iter__ = __len__ = __bytes__ = _lie


def sub(base, *args, **kwargs):
    """An instance of a subclass of ``base``, and of one whose methods lie."""
    plain = type(f"Sub{base.__name__}", (base,), {})
    return plain(*args, **kwargs)


def lying(base, *args):
    return type(f"Lying{base.__name__}", (Liar, base), {})(*args)


class Index:
    """As the integers of array libraries: no ints, and yet integers."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


DAY = dt.date(2026, 1, 2)
MOMENT = dt.datetime(2026, 10, 25, 2, 30, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=1)), fold=1)
ID = uuid.UUID(int=5)
ORDERED = collections.OrderedDict(a=1, b=2)
ORDERED.move_to_end("a")
DEFAULTS = collections.defaultdict(int, a=1)


CASES = [
    (Level.LOW, int, 1),
    (Bits.A | Bits.B, int, 3),
    (sub(int, 2**70), int, 2**70),
    (lying(int, 5), int, 5),
    (True, int, True),
    (Index(7), int, 7),
    (Level.LOW, float, 1),
    (Index(2**70), float, 2**70),
    (sub(float, 1.5), float, 1.5),
    (lying(float, 1.5), float, 1.5),
    (sub(float, "inf"), float, float("inf")),
    (sub(complex, 1, 2), complex, 1 + 2j),
    (Mode.READ, str, "read"),
    (OldMode.READ, str, "read"),
    (sub(str, "safe"), str, "safe"),
    (lying(str, "safe"), str, "safe"),
    (sub(str, "\ud800"), str, "\ud800"),
    (sub(bytes, b"x"), bytes, b"x"),
    (lying(bytes, b"x"), bytes, b"x"),
    (sub(bytearray, b"x"), bytearray, bytearray(b"x")),
    (sub(list, [1, 2]), list[int], [1, 2]),
    (lying(list, [1, 2]), list[int], [1, 2]),
    ([Level.LOW, 2], list[int], [1, 2]),
    (Pair(1, "b"), tuple, (1, "b")),
    (Pair(1, "b"), tuple[int, str], (1, "b")),
    (Pair(1, "b"), tuple[int | str, ...], (1, "b")),
    (Pair(Level.LOW, Mode.READ), tuple[int, str], (1, "read")),
    (sub(set, [1]), set[int], {1}),
    ({Level.LOW}, set[int], {1}),
    (sub(frozenset, [1]), frozenset[int], frozenset([1])),
    (sub(collections.deque, [1], 3), collections.deque[int], collections.deque([1], 3)),
    (ORDERED, dict, {"b": 2, "a": 1}),
    (ORDERED, dict[str, int], {"b": 2, "a": 1}),
    (ORDERED, Mapping[str, int], {"b": 2, "a": 1}),
    (DEFAULTS, dict[str, int], {"a": 1}),
    (collections.Counter("aab"), dict[str, int], {"a": 2, "b": 1}),
    ({Mode.READ: Level.LOW}, dict[str, int], {"read": 1}),
    (collections.OrderedDict(depth=Level.LOW), Options, {"depth": 1}),
    (sub(dt.datetime, 2026, 1, 2), dt.datetime, dt.datetime(2026, 1, 2)),  # noqa: DTZ001
    (type("D", (dt.datetime,), {}).fromisoformat(MOMENT.isoformat()).replace(fold=1), dt.datetime, MOMENT),
    (sub(dt.date, 2026, 1, 2), dt.date, DAY),
    (sub(dt.time, 1, 2, tzinfo=dt.UTC), dt.time, dt.time(1, 2, tzinfo=dt.UTC)),
    (sub(dt.timedelta, days=1), dt.timedelta, dt.timedelta(days=1)),
    (sub(uuid.UUID, int=5), uuid.UUID, ID),
    (sub(Decimal, "1.10"), Decimal, Decimal("1.10")),
    (sub(Decimal, "1" * 60), Decimal, Decimal("1" * 60)),
    (sub(Fraction, 1, 3), Fraction, Fraction(1, 3)),
    (sub(pathlib.PurePosixPath, "a/b"), pathlib.PurePosixPath, pathlib.PurePosixPath("a/b")),
    (sub(ipaddress.IPv4Address, "1.2.3.4"), ipaddress.IPv4Address, ipaddress.IPv4Address("1.2.3.4")),
    # In unions too
    (Level.LOW, int | None, 1),
    (Mode.READ, int | str, "read"),
    (Level.LOW, float | str, 1),
    (Index(7), int | None, 7),
    (Index(7), float | str, 7),
    (ORDERED, dict[str, int] | None, {"b": 2, "a": 1}),
    (Pair(1, "b"), list[int] | tuple[int, str], (1, "b")),
    (sub(list, [1]), Sequence[int], [1]),
    (Pair(1, "b"), Iterable[int | str], (1, "b")),
    (Level.LOW, int | Mode, 1),
    # Where the class is annotated, the value stays what it is
    (Level.LOW, Level, Level.LOW),
    (Level.LOW, int | Level, Level.LOW),
    (Pair(1, "b"), tuple[int, str] | Pair, Pair(1, "b")),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), CASES, ids=range(len(CASES)))
def test_it_travels_as_the_type_that_is_annotated(value, annotation, expected):
    back = VALUES.decode(json.loads(json.dumps(VALUES.encode(value, annotation))), annotation)
    assert back == expected
    assert type(back) is type(expected)
    if isinstance(expected, list | tuple | dict):
        assert list(map(type, back)) == list(map(type, expected))
    if isinstance(expected, dict):
        assert list(back.items()) == list(expected.items())
        assert list(map(type, back.values())) == list(map(type, expected.values()))
    if isinstance(expected, dt.datetime):
        assert (back.fold, back.utcoffset()) == (expected.fold, expected.utcoffset())


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.date),  # its time would be lost
        (sub(dt.datetime, 2026, 1, 2), dt.date),
        (sub(dt.datetime, 2026, 1, 2), dt.date | None),
        (ipaddress.IPv4Interface("1.2.3.4/8"), ipaddress.IPv4Address),
        (Level.LOW, bool),
        (Level.LOW, str),
        (Mode.READ, int),
        (Index("no number"), int),
        (Index(1), str),
        (Index(1), bool),
        (1.5, int),
        (Fraction(1, 2), float),
        (Decimal(1), float),
        (Level.LOW, Literal[1]),
        (Level.LOW, Any),
        (Mode.READ, object),
        (Pair(1, "b"), tuple[int, int]),
        (Pair(1, "b"), tuple[int]),
        (re.compile("a"), re.Pattern[bytes]),
        (range(3), Sequence[str]),
        (collections.Counter(a=1.5), dict[str, int]),
    ],
)
def test_nothing_else_is_converted(value, annotation):
    with pytest.raises(ValueMismatch):
        VALUES.encode(value, annotation)


def test_tasks_get_and_return_what_their_annotations_say():
    with App("memory://") as app:

        @app.task(name="count")
        def count(level: int, words: dict[str, int], *, mode: str = "") -> dict[str, int]:
            assert [type(level), type(words), type(mode)] == [int, dict, str]
            return collections.Counter(words) + collections.Counter({mode: level})

        with app.worker():
            handle = count.send(Level.LOW, collections.Counter("aab"), mode=Mode.READ)
            assert handle.get(WAIT) == {"a": 2, "b": 1, "read": 1}
        with pytest.raises(InvalidArguments, match="'words' expects dict\\[str, int\\]"):
            count.send(1, [])


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="numpy is not installed")
def test_the_scalars_of_numpy():
    import numpy as np

    for value, annotation, expected in (
        (np.float32(1.5), float, 1.5),
        (np.float16(1.5), float | None, 1.5),
        (np.bool_(True), bool, True),
        (np.bool_(True), bool | str, True),
        (np.complex64(1j), complex, 1j),
        (np.int64(5), Any, 5),
        (np.float32(1.5), Any, 1.5),
        ([np.float64(1.5), np.bool_(False)], list[Any], [1.5, False]),
        (np.int64(5), int, 5),
        (np.uint8(5), float, 5),
        (np.float64(1.5), float, 1.5),
        (np.str_("text"), str, "text"),
        (np.bytes_(b"x"), bytes, b"x"),
    ):
        back = VALUES.decode(VALUES.encode(value, annotation), annotation)
        assert (back, type(back)) == (expected, type(expected))
    for value, annotation in (
        (np.array([1, 2]), int),
        (np.array([1, 2]), Any),
        (np.float32(1.5), int),
        (np.bool_(True), str),
        (np.datetime64("2026-01-02T00:00:00.5", "ns"), int),
        (np.datetime64("2026-01-02"), Any),
    ):
        with pytest.raises(ValueMismatch):
            VALUES.encode(value, annotation)


class Scalar:
    """As the numbers of array libraries that are no subclasses of those of Python."""

    shape = ()

    def __init__(self, number: Any, kind: str) -> None:
        self.number = number
        self.dtype = SimpleNamespace(kind=kind)

    dtype = None

    def item(self) -> Any:
        return self.number


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (Scalar(1.5, "f"), float, 1.5),
        (Scalar(1.5, "f"), float | None, 1.5),
        (Scalar(True, "b"), bool, True),
        (Scalar(1.5, "f"), Any, 1.5),
        ([Scalar(2, "i")], list[Any], [2]),
    ],
)
def test_a_scalar_of_an_array_library_travels_as_its_number(value, annotation, expected):
    back = VALUES.decode(VALUES.encode(value, annotation), annotation)
    assert (back, type(back)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "annotation"), [(Scalar(5, "M"), Any), (Scalar(1.5, "f"), int), (Scalar(1.5, "f"), str | None)]
)
def test_another_scalar_of_an_array_library_is_refused(value, annotation):
    with pytest.raises(ValueMismatch):
        VALUES.encode(value, annotation)
