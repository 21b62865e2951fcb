"""Structs of msgspec arrive as they were sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

import attrs
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType, field

from drivetrain import App, InvalidArguments
from drivetrain.workflow.values import ValueMismatch, Values

VALUES = Values()
WAIT = 20
T = TypeVar("T")


class Point(Struct):
    x: int
    y: int = 0


class Line(Struct, frozen=True, kw_only=True, tag="line", rename="camel", array_like=True):
    first_point: Point
    last_point: Point
    at: datetime
    names: set[str] = field(default_factory=set)


class Tree(Struct):
    children: list[Tree] = []


class Box(Struct, Generic[T]):
    content: T


class Patch(Struct, omit_defaults=True):
    name: str | UnsetType = UNSET
    age: int | UnsetType | None = UNSET


class Order(Struct):
    amount: Annotated[int, Meta(ge=1)]
    price: Decimal = Decimal(1)
    codes: list[Annotated[str, Meta(pattern="^[a-z]+$")]] = []

    def __post_init__(self) -> None:
        if self.price < 0:
            raise ValueError("a price is not negative")


@attrs.frozen
class Holder:
    order: Order


class Both(Struct):
    holder: Holder


def sent(value: Any, annotation: Any) -> Any:
    return VALUES.decode(json.loads(json.dumps(VALUES.encode(value, annotation))), annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Point(1, 2), Point),
        (Line(first_point=Point(1), last_point=Point(2), at=datetime(2026, 1, 2, tzinfo=UTC), names={"a"}), Line),
        (Tree([Tree(), Tree([Tree()])]), Tree),
        (Box(5), Box[int]),
        (Box(Point(1)), Box[Point]),
        (Patch(), Patch),
        (Patch(name="Ada"), Patch),
        (Patch(age=None), Patch),
        (Order(2, Decimal("1.10"), ["a"]), Order),
        (Both(Holder(Order(1))), Both),
        (Point(1), Point | None),
        ([Point(1), Box("x")], list[Point | Box[str]]),
    ],
)
def test_a_struct_arrives_as_it_was_sent(value, annotation):
    back = sent(value, annotation)
    assert back == value
    assert type(back) is type(value)


def test_what_is_unset_stays_unset():
    assert sent(Patch(name="Ada"), Patch).age is UNSET


def test_a_field_of_the_wrong_type_is_named():
    with pytest.raises(ValueMismatch, match=r"at \.x expects int, got 'one' \(str\)"):
        VALUES.encode(Point("one"), Point)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (Order(0), "Expected `int` >= 1 - at `$.amount`"),
        (Order(1, Decimal(1), ["A"]), "Expected `str` matching regex '^[a-z]+$' - at `$.codes[0]`"),
    ],
)
def test_the_constraints_of_its_fields_are_checked_where_it_is_sent(order, says):
    app = App("memory://")

    @app.task(name="buy")
    def buy(order: Order) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        buy.send(order)
    assert str(caught.value) == f"buy(): parameter 'order': Order: {says}"


def test_what_arrives_is_checked():
    plain = VALUES.encode(Order(1), Order)
    plain["v"]["amount"] = 0
    with pytest.raises(ValueMismatch, match="Expected `int` >= 1"):
        VALUES.decode(plain, Order)
    plain["v"] = {"amount": 1, "price": {"$": "decimal", "v": "-1"}}
    with pytest.raises(ValueMismatch, match="a price is not negative"):
        VALUES.decode(plain, Order)
    plain["v"] = {"amount": 1, "more": 1}
    with pytest.raises(ValueMismatch, match="it has no field more"):
        VALUES.decode(plain, Order)
    plain["v"] = {}
    with pytest.raises(ValueMismatch, match="amount"):
        VALUES.decode(plain, Order)


def test_a_worker_gets_and_returns_structs():
    app = App("memory://")

    @app.task(name="mirror")
    def mirror(point: Point) -> Point:
        return Point(point.y, point.x)

    with app.worker():
        assert mirror.send(Point(1, 2)).get(timeout=WAIT) == Point(2, 1)
