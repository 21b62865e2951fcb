"""Models of pydantic arrive as they were sent, and both sides validate them."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID, uuid4

import pydantic
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PrivateAttr,
    RootModel,
    SecretStr,
    field_validator,
    model_validator,
)

from drivetrain import App, InvalidArguments, InvalidSignature
from drivetrain.workflow.values import UnsupportedAnnotation, ValueMismatch, Values

VALUES = Values()
WAIT = 20
T = TypeVar("T")


class Kind(Enum):
    NEW = "new"


class Address(BaseModel):
    street: str
    number: int = Field(gt=0)


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0)] = 0
    home: Address | None = None
    friends: list[Person] = []
    born: datetime | None = None
    balance: Decimal = Decimal(0)
    kinds: set[Kind] = set()
    tags: tuple[str, ...] = ()


class Aliased(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper)

    first: int
    second: int = Field(validation_alias="other")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    a: int
    when: datetime


class Page(BaseModel, Generic[T]):
    items: list[T]


class Ids(RootModel[list[UUID]]):
    pass


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Made(BaseModel):
    id: UUID = Field(default_factory=uuid4)
    _count: int = PrivateAttr(default=7)


class Site(BaseModel):
    url: HttpUrl
    others: list[HttpUrl] = []


class Login(BaseModel):
    password: SecretStr


class Broken(BaseModel):
    other: Missing  # noqa: F821 - that is the point


class Odd(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def is_odd(cls, number: int) -> int:
        if number % 2 == 0:
            raise ValueError("it is even")
        return number

    @model_validator(mode="after")
    def is_small(self) -> Odd:
        if self.number > 100:
            raise ValueError("it is large")
        return self


@dataclasses.dataclass
class Holder:
    person: Person


def sent(value: Any, annotation: Any) -> Any:
    """What arrives, by way of JSON."""
    return VALUES.decode(json.loads(json.dumps(VALUES.encode(value, annotation))), annotation)


ADA = Person(
    name="Ada",
    age=36,
    home=Address(street="Main Street", number=1),
    friends=[Person(name="Bob")],
    born=datetime(2026, 1, 2, tzinfo=UTC),
    balance=Decimal("1.10"),
    kinds={Kind.NEW},
    tags=("a", "b"),
)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (ADA, Person),
        ([ADA], list[Person]),
        (ADA, Person | None),
        (None, Person | None),
        (Holder(ADA), Holder),
        (Aliased.model_validate({"FIRST": 1, "other": 2}), Aliased),
        (Open.model_validate({"a": 1, "b": (2, b"x")}), Open),
        (Closed(a=1, when=datetime(2026, 1, 2, tzinfo=UTC)), Closed),
        (Page[int](items=[1]), Page[int]),
        (Page[Person](items=[ADA]), Page[Person]),
        (Ids([UUID(int=1)]), Ids),
        (Owner(pet=Dog(tricks=["sit"])), Owner),
        (Cat(lives=9), Cat | Dog),
        (Made(), Made),
        (Site(url="https://example.org/a?b=1", others=["http://example.net"]), Site),
        (HttpUrl("https://example.org"), HttpUrl | None),
        (Odd(number=3), Odd),
    ],
)
def test_a_model_arrives_as_it_was_sent(value, annotation):
    back = sent(value, annotation)
    assert back == value
    assert type(back) is type(value)


def test_fields_that_were_not_given_are_still_not_given():
    assert sent(Person(name="Ada", age=0), Person).model_fields_set == {"name", "age"}
    assert sent(Person(name="Ada"), Person).model_dump(exclude_unset=True) == {"name": "Ada"}


def test_private_attributes_are_made_again():
    made = Made()
    made._count = 8
    assert sent(made, Made)._count == 7


def test_without_its_class_a_model_is_the_dict_of_its_fields():
    assert VALUES.decode(VALUES.encode(ADA.home, Address)) == {"street": "Main Street", "number": 1}


def test_a_value_that_the_model_refuses_is_refused_where_it_is_sent():
    app = App("memory://")

    @app.task(name="move")
    def move(to: Address, others: list[Odd]) -> None: ...

    even = Odd(number=3)
    even.number = 4
    bad = Address.model_construct(street="Main Street", number=-1)
    with pytest.raises(InvalidArguments) as caught:
        move.send(bad, [Odd(number=1), even])
    assert str(caught.value) == (
        "move(): parameter 'to': 1 validation error for Address: number: Input should be greater than 0 "
        "[type=greater_than, input_value=-1, input_type=int]; parameter 'others[1]': 1 validation error for Odd: "
        "number: Value error, it is even [type=value_error, input_value=4, input_type=int]"
    )


def test_several_faults_and_those_of_the_whole_model_are_all_named():
    bad = Person.model_construct(name="Ada", age=-1, tags=(), kinds=set(), balance=Decimal(0), friends=[])
    bad.home = Address.model_construct(street="", number=0)
    with pytest.raises(ValueMismatch) as caught:
        VALUES.encode(bad, Person)
    assert "1 validation error for Person: age: Input should be" in str(caught.value)
    large = Odd(number=3)
    large.number = 101
    with pytest.raises(ValueMismatch, match="1 validation error for Odd: Value error, it is large"):
        VALUES.encode(large, Odd)


def test_what_arrives_is_validated():
    plain = VALUES.encode(Address(street="Main Street", number=1), Address)
    plain["v"]["number"] = 0
    with pytest.raises(ValueMismatch, match="1 validation error for Address: number: Input should be greater than 0"):
        VALUES.decode(plain, Address)
    plain["v"] = {"street": "Main Street"}
    with pytest.raises(ValueMismatch, match="number: Field required"):
        VALUES.decode(plain, Address)


def test_a_field_that_the_receiver_does_not_know_is_treated_as_its_model_says():
    plain = VALUES.encode(Address(street="Main Street", number=1), Address)
    plain["v"]["more"] = 1
    assert VALUES.decode(plain, Address) == Address(street="Main Street", number=1)
    plain = VALUES.encode(Closed(a=1, when=datetime(2026, 1, 2, tzinfo=UTC)), Closed)
    plain["v"]["more"] = 1
    with pytest.raises(ValueMismatch, match="more: Extra inputs are not permitted"):
        VALUES.decode(plain, Closed)


@pytest.mark.parametrize(
    "plain", [1, {}, {"$": "object", "t": "Other", "v": {}}, {"$": "object", "t": "Address", "v": []}]
)
def test_what_is_no_model_is_refused(plain):
    with pytest.raises(ValueMismatch, match="expects Address"):
        VALUES.decode(plain, Address)


def test_a_subclass_is_refused_where_it_would_lose_fields():
    class Villa(Address):
        pool: bool = True

    with pytest.raises(ValueMismatch, match=r"annotate it with Address \| .*Villa"):
        VALUES.encode(Villa(street="Main Street", number=1), Address)


def test_without_an_annotation_the_error_names_the_model():
    with pytest.raises(ValueMismatch, match="annotate it with Address"):
        VALUES.encode(Address(street="Main Street", number=1))


def test_a_secret_is_not_sent_as_asterisks():
    with pytest.raises(ValueMismatch, match="what pydantic writes for a SecretStr does not give it back"):
        VALUES.encode(Login(password="x"), Login)


def test_the_error_of_an_old_model_names_the_extra(monkeypatch):
    app = App("memory://")

    @app.task(name="old")
    def old(value: Address) -> None: ...

    monkeypatch.setattr(pydantic, "VERSION", "2.10.6")
    with pytest.raises(InvalidSignature, match=r"pydantic 2\.10\.6.*pip install 'drivetrain\[pydantic\]'"):
        old.send(Address(street="Main Street", number=1))
    with pytest.raises(ValueMismatch, match=r"drivetrain\[pydantic\]"):
        VALUES.encode(Address(street="Main Street", number=1))


def test_a_model_whose_fields_are_never_defined_says_so():
    with pytest.raises(UnsupportedAnnotation, match=r"the fields of .*Broken cannot be resolved"):
        VALUES.encode(1, Broken)


def test_a_worker_gets_and_returns_models():
    app = App("memory://")

    @app.task(name="grow")
    def grow(person: Person) -> Person:
        return person.model_copy(update={"age": person.age + 1})

    with app.worker():
        assert grow.send(ADA).get(timeout=WAIT) == ADA.model_copy(update={"age": 37})


def test_drivetrain_does_not_import_pydantic():
    import subprocess

    code = "import sys, drivetrain, drivetrain.testing; assert not {'pydantic', 'asyncio'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
