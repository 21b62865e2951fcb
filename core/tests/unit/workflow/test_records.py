"""Instances of dataclasses, attrs classes and named tuples arrive as they were sent: no code of theirs runs again."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import threading
from abc import ABC
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain import App, chain
from drivetrain.workflow.values import UnsupportedAnnotation, ValueMismatch, Values

VALUES = Values()
WAIT = 20
T = TypeVar("T")


class Ran(Exception):
    """Code of a class has run that must not."""


#: What the classes below refuse to be made with; set when all values are made.
closed = threading.Event()


@pytest.fixture(autouse=True)
def nothing_runs():
    closed.clear()
    yield
    closed.clear()


def ran():
    if closed.is_set():
        raise Ran


@dataclasses.dataclass
class Counted:
    a: int

    def __post_init__(self) -> None:
        self.a += 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: int
    b: list[int] = dataclasses.field(default_factory=list, hash=False)

    def __post_init__(self) -> None:
        ran()
        object.__setattr__(self, "a", self.a + 1)


@dataclasses.dataclass(slots=True, kw_only=True)
class Slotted:
    a: int
    made: int = dataclasses.field(init=False)
    never_set: int = dataclasses.field(init=False)
    with_default: int = dataclasses.field(init=False, default=7)

    def __post_init__(self) -> None:
        ran()
        self.made = self.a * 2


@dataclasses.dataclass
class Seeded:
    a: int
    seed: dataclasses.InitVar[int] = 1
    _: dataclasses.KW_ONLY
    b: int = 2
    shared: ClassVar[int] = 3

    def __post_init__(self, seed: int) -> None:
        ran()
        self.a += seed


class Base:
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        ran()
        return super().__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        ran()
        super().__setattr__(name, value)


@dataclasses.dataclass
class Inherited(Base, ABC):
    a: int
    b: int = 1


@dataclasses.dataclass
class InheritedAgain(Inherited, Generic[T]):
    c: T | None = None

    def __post_init__(self) -> None:
        ran()
        self.b *= 10


@dataclasses.dataclass
class Cached:
    a: int

    @functools.cached_property
    def twice(self) -> int:
        return self.a * 2


def _changed(value: int) -> int:
    ran()
    return value + 1


@attrs.define
class Converted:
    a: int = attrs.field(converter=_changed, on_setattr=attrs.setters.convert)
    _private: int = attrs.field(default=1, alias="public")
    made: int = attrs.field(init=False)
    never_set: int = attrs.field(init=False)

    def __attrs_pre_init__(self) -> None:
        ran()

    def __attrs_post_init__(self) -> None:
        ran()
        self.made = self.a + 100


@attrs.frozen
class Validated:
    a: int = attrs.field()

    @a.validator
    def _check(self, _attribute: object, _value: int) -> None:
        ran()


@attrs.define(init=False)
class OwnInit:
    a: int

    def __init__(self, text: str) -> None:
        ran()
        self.__attrs_init__(len(text))


@attrs.define(slots=False)
class WithoutSlots:
    a: int
    b: int = attrs.field(default=attrs.Factory(lambda self: self.a + 1, takes_self=True))


@attrs.frozen(cache_hash=True)
class Hashed:
    a: int


@attrs.frozen(cache_hash=True, slots=False)
class HashedWithoutSlots:
    a: int


@attrs.define
class Broken(Exception):
    a: int
    b: int = 2


@dataclasses.dataclass(eq=True)
class BrokenData(LookupError):
    a: int
    b: int = 2


class Pair(NamedTuple):
    a: int
    b: int = 1


class Sorted(Pair):
    def __new__(cls, a: int, b: int) -> Self:
        ran()
        return super().__new__(cls, min(a, b), max(a, b) + 1)

    @classmethod
    def _make(cls, iterable: Any) -> Any:
        raise Ran


def unset(make, *names):
    value = make()
    for name in names:
        delattr(value, name)
    return value


MAKERS = {
    "counted": lambda: Counted(1),
    "frozen": lambda: Frozen(1, [2]),
    "slotted": lambda: Slotted(a=1),
    "an optional field that was deleted": lambda: unset(lambda: Slotted(a=1), "made"),
    "seeded": lambda: Seeded(1, 5, b=3),
    "inherited": lambda: Inherited(1),
    "inherited again": lambda: InheritedAgain(1, 2, 3),
    "generic": lambda: InheritedAgain[int](1, 2, 3),
    "cached": lambda: Cached(1),
    "converted": lambda: Converted(1, public=5),
    "validated": lambda: Validated(1),
    "with an __init__ of its own": lambda: OwnInit("four"),
    "without slots": lambda: WithoutSlots(1, 5),
    "hashed": lambda: Hashed(1),
    "hashed without slots": lambda: HashedWithoutSlots(1),
    "an exception": lambda: Broken(1),
    "an exception that is a dataclass": lambda: BrokenData(1, 3),
    "a pair": lambda: Pair(1),
    "sorted": lambda: Sorted(2, 1),
}


def state(value):
    """All fields, those that are not set left out."""
    if isinstance(value, tuple):
        return list(value)
    names = [field.name for field in (dataclasses.fields if dataclasses.is_dataclass(value) else attrs_fields)(value)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def attrs_fields(value):
    return attrs.fields(type(value))


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_of_the_class_runs_when_a_value_is_sent_and_read(name):
    value = MAKERS[name]()
    before = copy.deepcopy(state(value))
    closed.set()
    plain = json.loads(json.dumps(VALUES.encode(value, type(value))))
    back = VALUES.decode(plain, type(value))
    closed.clear()
    assert type(back) is type(value)
    assert state(back) == before
    if isinstance(value, Exception):
        assert back.args == value.args
    elif type(value).__hash__ is not None:
        assert (back, hash(back)) == (value, hash(value))


def test_a_property_that_was_computed_is_computed_again():
    value = Cached(1)
    assert value.twice == 2
    back = VALUES.decode(VALUES.encode(value, Cached), Cached)
    assert "twice" not in vars(back)
    assert back.twice == 2
    value = HashedWithoutSlots(1)
    assert hash(value) == hash(VALUES.decode(VALUES.encode(value, HashedWithoutSlots), HashedWithoutSlots))


@given(st.integers(), st.integers(), st.integers(1, 5))
def test_any_number_of_hops_changes_nothing(a, b, hops):
    value = Seeded(a, b)
    for _ in range(hops):
        value, before = VALUES.decode(VALUES.encode(value, Seeded), Seeded), value
        assert value == before


def test_a_value_arrives_through_workers_as_it_was_sent():
    with App("memory://") as app:

        @app.task
        def double(value: Counted) -> Counted:
            return Counted(value.a * 2)

        @app.task
        async def same(value: Counted) -> Counted:
            return value

        with app.worker():
            sent = Counted(1)
            assert (sent.a, same.send(sent).get(WAIT).a) == (2, 2)
            assert chain(same.s(sent), double.s(), same.s(), same.s()).send().get(WAIT).a == 5


# What cannot arrive is refused when it is sent


@dataclasses.dataclass
class WithAttribute:
    a: int

    def __post_init__(self) -> None:
        self.lock = threading.Lock()


class PairWithAttribute(Pair):
    pass


def test_an_attribute_that_is_not_a_field_is_refused_and_not_lost():
    with pytest.raises(
        ValueMismatch, match="its attribute 'lock' is not a field, so it would be lost; make it a field"
    ):
        VALUES.encode(WithAttribute(1), WithAttribute)
    pair = PairWithAttribute(1, 2)
    assert VALUES.decode(VALUES.encode(pair, PairWithAttribute), PairWithAttribute) == (1, 2)
    pair.extra = 1
    with pytest.raises(ValueMismatch, match="its attribute 'extra' is not a field"):
        VALUES.encode(pair, PairWithAttribute)


def test_a_field_that_is_not_set_is_refused():
    value = unset(lambda: Slotted(a=1), "a")
    with pytest.raises(ValueMismatch, match="its field 'a' is not set"):
        VALUES.encode(value, Slotted)


@dataclasses.dataclass
class AlsoADict(dict):
    a: int


@attrs.define(slots=False)
class AlsoAnInt(int):
    a: int


@pytest.mark.parametrize("kind", [AlsoADict, AlsoAnInt])
def test_a_class_that_holds_more_than_fields_is_refused(kind):
    with pytest.raises(UnsupportedAnnotation, match="which holds more than fields; register it"):
        VALUES.encoder(kind)


def test_a_registered_type_is_made_as_it_says():
    values = Values()
    values.register(Counted, encode=lambda value: value.a, decode=Counted)
    assert values.decode(values.encode(Counted(1), Counted), Counted).a == 3


# Fields that a later version has added


def test_missing_fields_get_their_defaults():
    def read(kind, **fields):
        return VALUES.decode({"$": "object", "t": kind.__qualname__, "v": fields}, kind)

    first, second = read(Frozen, a=1), read(Frozen, a=1)
    assert (first.a, first.b) == (1, [])
    assert first.b is not second.b
    assert state(read(Slotted, a=1)) == {"a": 1, "with_default": 7}
    assert state(read(WithoutSlots, a=1)) == {"a": 1, "b": 2}
    with pytest.raises(ValueMismatch, match="field 'a' is missing"):
        read(Frozen, b=[])


def _with_all(value, instance, field):
    return f"{value}{instance.text}{field.name}"


#: A converter that takes more than the value; there are none before attrs 24.1.
CONVERTER = attrs.Converter(_with_all, takes_self=True, takes_field=True) if hasattr(attrs, "Converter") else str


def test_the_default_of_an_attrs_field_is_converted_as_its_init_would():
    @attrs.define
    class Late:
        text: str = attrs.field(default=5, converter=str)
        both: str = attrs.field(default=5, converter=CONVERTER)

    assert VALUES.decode({"$": "object", "t": Late.__qualname__, "v": {}}, Late) == Late()


def test_the_error_of_a_failing_default_is_reported():
    @dataclasses.dataclass
    class Fails:
        a: int = dataclasses.field(default_factory=lambda: 1 // 0)

    with pytest.raises(ValueMismatch, match="refused with ZeroDivisionError"):
        VALUES.decode({"$": "object", "t": Fails.__qualname__, "v": {}}, Fails)
