"""Values travel exactly: through JSON, under their own annotation, under `Any`, and under a union of everything."""

# The old spellings of annotations are among what is tested.
# ruff: noqa: UP006, UP007, UP035, UP045

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import math
import pathlib
import re
import sys
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from fractions import Fraction
from typing import (
    Annotated,
    Any,
    Deque,
    Dict,
    Generic,
    List,
    Literal,
    NamedTuple,
    Never,
    NewType,
    NotRequired,
    Optional,
    Required,
    Tuple,
    TypedDict,
    TypeVar,
    Union,
)
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from drivetrain.contract import Failure, InvalidSignature
from drivetrain.workflow.values import UnsupportedAnnotation, ValueMismatch, Values

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

T = TypeVar("T")
U = TypeVar("U", bound=int)
C = TypeVar("C", int, str)


class Color(enum.Enum):
    RED = "r"
    ALSO_RED = "r"  # noqa: PIE796 - an alias
    GREEN = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    READ = "read"


class Perm(enum.Flag):
    R = 1
    W = 2
    FAR = 1 << 70


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass(kw_only=True, slots=True)
class Visit:
    at: dt.datetime | None
    where: Point
    tags: list[str] = dataclasses.field(default_factory=list)
    count: int = dataclasses.field(init=False, default=0)


@attrs.define
class Account:
    _id: uuid.UUID
    owner: str | None = attrs.field(default=None, alias="owned_by")
    cl: int = 0
    loose: Any = None
    doubled: int = attrs.field(init=False)

    def __attrs_post_init__(self):
        self.doubled = self.cl * 2


@attrs.frozen
class Box(Generic[T]):
    content: T
    more: list[T] = attrs.field(factory=list)
    by_name: dict[str, T | None] = attrs.field(factory=dict)


@attrs.frozen
class IntBox(Box[int]):
    size: int = 1


@attrs.frozen
class Pair(Box[list[T]], Generic[T]):
    """The same type variable as its base, for something else."""

    left: T = attrs.field(kw_only=True)


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]
    parent: Tree | None = None


class QueueSection(NamedTuple):
    name: str
    at: tuple[float, float] = (0.0, 0.0)


class Labelled(NamedTuple, Generic[T]):
    label: str
    it: T


Bare = collections.namedtuple("Bare", ["a", "b"])  # noqa: PYI024 - without annotations


class Options(TypedDict):
    depth: int
    name: NotRequired[str]


class Partial(Options, total=False):
    when: dt.date
    sure: Required[bool]


class Holder(TypedDict, Generic[T]):
    held: T


class HeldInts(Holder[int]):
    n: int


Dollar = TypedDict("Dollar", {"$": int})
Id = NewType("Id", int)
Json = Union[None, int, str, list["Json"], dict[str, "Json"]]


class Celsius:
    def __init__(self, degrees):
        self.degrees = degrees

    def __eq__(self, other):
        return type(other) is Celsius and other.degrees == self.degrees

    def __hash__(self):
        return hash(self.degrees)


def make_values():
    values = Values()
    values.register(Celsius, encode=lambda value: (value.degrees, "C"), decode=lambda plain: Celsius(plain[0]))
    return values


VALUES = make_values()


def through_json(plain):
    return json.loads(json.dumps(plain, allow_nan=False, ensure_ascii=False).encode("utf-8"))


def is_plain(plain):
    kind = type(plain)
    if kind is int:
        return -(2**63) <= plain < 2**63
    if kind is float:
        return math.isfinite(plain)
    if kind is str:
        return plain.encode("utf-8") is not None
    if kind is list:
        return all(map(is_plain, plain))
    if kind is dict:
        return all(type(key) is str and is_plain(key) and is_plain(value) for key, value in plain.items())
    return kind in (bool, type(None))


def same(a, b):  # noqa: C901 - one line for each kind
    """Equal and of the same type, all the way down; stricter than ``==``."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, dt.datetime | dt.time):
        zones = getattr(a.tzinfo, "key", None) == getattr(b.tzinfo, "key", None)
        walls = a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold
        return zones and walls and a.utcoffset() == b.utcoffset()
    if isinstance(a, range):
        a, b = (a.start, a.stop, a.step), (b.start, b.stop, b.step)
    if isinstance(a, collections.deque):
        a, b = [a.maxlen, *a], [b.maxlen, *b]
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, a.items(), b.items()))
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(same(item, other) for other in b) for item in a)
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    if attrs.has(type(a)):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in attrs.fields(type(a)))
    return a == b


def check_round_trip(value, annotation, scope=None):
    plain = VALUES.encoder(annotation, scope)(value)
    assert is_plain(plain)
    back = VALUES.decoder(annotation, scope)(through_json(plain))
    assert same(back, value), (value, plain, back)
    return plain


def deques(items):
    return st.builds(collections.deque, st.lists(items, max_size=3), st.none() | st.integers(3, 5))


texts = st.text(st.characters(), max_size=8)
offsets = st.timedeltas(dt.timedelta(hours=-23, minutes=-59), dt.timedelta(hours=23, minutes=59))
zones = st.none() | st.just(dt.UTC) | offsets.map(dt.timezone) | st.timezones()
folds = st.sampled_from([0, 1])
datetimes = st.builds(lambda value, fold: value.replace(fold=fold), st.datetimes(timezones=zones), folds)
times = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
floats = st.floats() | st.sampled_from([-0.0, math.nan, math.inf, -math.inf])
integers = st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63, 2**63 - 1, -(2**63), -(2**63) - 1])
decimals = st.decimals() | st.sampled_from([Decimal(x) for x in ("sNaN", "-sNaN12", "-0E+9", "1E-999", "-Infinity")])

LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    bool: st.booleans(),
    int: integers,
    float: floats,
    str: texts,
    bytes: st.binary(max_size=20),
    bytearray: st.binary(max_size=20).map(bytearray),
    complex: st.builds(complex, floats, floats),
    dt.datetime: datetimes,
    dt.date: st.dates(),
    dt.time: times,
    dt.timedelta: st.timedeltas(),
    uuid.UUID: st.uuids(allow_nil=True),
    Decimal: decimals,
    pathlib.PurePosixPath: texts.map(lambda text: pathlib.PurePosixPath("a", text)),
    pathlib.PureWindowsPath: texts.map(lambda text: pathlib.PureWindowsPath("c:/a", text)),
    pathlib.Path: texts.map(lambda text: pathlib.Path("a", text)),
    ipaddress.IPv4Address: st.ip_addresses(v=4),
    ipaddress.IPv6Address: st.ip_addresses(v=6) | st.just(ipaddress.IPv6Address("fe80::1%eth0")),
    ipaddress.IPv4Network: st.ip_addresses(v=4).map(lambda ip: ipaddress.IPv4Network((ip, 17), strict=False)),
    ipaddress.IPv6Network: st.ip_addresses(v=6).map(lambda ip: ipaddress.IPv6Network((ip, 64), strict=False)),
    ipaddress.IPv4Interface: st.ip_addresses(v=4).map(lambda ip: ipaddress.IPv4Interface((ip, 17))),
    ipaddress.IPv6Interface: st.ip_addresses(v=6).map(lambda ip: ipaddress.IPv6Interface((ip, 64))),
    Fraction: st.fractions(),
    range: st.builds(range, integers, integers, st.sampled_from([1, -3, 2**70])),
    re.Pattern: st.sampled_from(
        [re.compile(""), re.compile(b"\xff+", re.DOTALL), re.compile("(?i)a\ud800", re.VERBOSE), re.compile("(?a)a")]
    ),
    ZoneInfo: st.timezones(),
    Celsius: st.builds(Celsius, st.integers()),
}
trees = st.recursive(
    st.builds(Tree, integers, st.just([])),
    lambda inner: st.builds(Tree, integers, st.lists(inner, max_size=2), st.none() | inner),
    max_leaves=5,
)
jsons = st.recursive(
    st.none() | integers | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
points = st.builds(Point, integers, floats)
options = st.fixed_dictionaries({"depth": integers}, optional={"name": texts})
failures = st.builds(
    Failure,
    type=texts,
    message=texts,
    traceback=texts,
    task=texts,
    task_id=texts,
    attempt=integers,
    args=st.lists(jsons | st.just({"$": "object", "t": "Point", "v": {}}), max_size=2).map(tuple),
    kwargs=st.dictionaries(texts, jsons, max_size=2),
)
CLASSES: dict[Any, st.SearchStrategy[Any]] = {
    Color: st.sampled_from(Color),
    Level: st.sampled_from(Level),
    Mode: st.sampled_from(Mode),
    Perm: st.sampled_from([Perm.R, Perm.R | Perm.W, Perm(0), Perm.FAR | Perm.R]),
    Point: points,
    Visit: st.builds(Visit, at=st.none() | datetimes, where=points, tags=st.lists(texts)),
    Account: st.builds(Account, id=st.uuids(), owned_by=st.none() | texts, cl=st.integers(-5, 5), loose=jsons),
    Box[str]: st.builds(Box, texts, st.lists(texts, max_size=2), st.dictionaries(texts, st.none() | texts, max_size=2)),
    IntBox: st.builds(IntBox, integers, st.lists(integers), st.just({"n": None}), integers),
    Pair[str]: st.builds(Pair, content=st.lists(texts), more=st.just([["a"], []]), left=texts),
    Tree: trees,
    QueueSection: st.builds(QueueSection, texts, st.tuples(floats, floats)),
    Labelled[bytes]: st.builds(Labelled, texts, st.binary(max_size=3)),
    Bare: st.builds(Bare, integers, jsons),
    Failure: failures,
}
OTHERS: dict[Any, st.SearchStrategy[Any]] = {
    Options: options,
    Partial: st.fixed_dictionaries(
        {"depth": integers, "sure": st.booleans()}, optional={"name": texts, "when": st.dates()}
    ),
    Holder[str]: st.fixed_dictionaries({"held": texts}),
    HeldInts: st.fixed_dictionaries({"held": integers, "n": integers}),
    Dollar: st.fixed_dictionaries({"$": integers}),
    Id: integers,
    Annotated[int, "doc"]: integers,
    Literal[1, "a", b"b", Color.RED]: st.sampled_from([1, "a", b"b", Color.RED]),
    Literal[True, 0]: st.sampled_from([True, 0]),
    T: jsons,
    U: integers,
    C: integers | texts,
    object: jsons,
    pathlib.PurePath: LEAVES[pathlib.Path] | LEAVES[pathlib.PureWindowsPath],
    Optional[Point]: st.none() | points,
    Union[int, Level]: integers | st.sampled_from(Level),
    Union[dt.date, dt.datetime]: st.dates() | datetimes,
    Box: st.builds(Box, jsons),
    # Bare generics.
    re.Pattern[str]: st.just(re.compile("a", re.IGNORECASE)),
    re.Pattern[bytes]: st.just(re.compile(b"a")),
    collections.deque: deques(jsons),
    Sequence[int]: st.just(range(3)),
    list: st.lists(jsons, max_size=3),
    tuple: st.lists(jsons, max_size=3).map(tuple),
    Tuple: st.lists(jsons, max_size=3).map(tuple),
    List: st.lists(jsons, max_size=3),
    dict: st.dictionaries(texts | integers, jsons, max_size=3),
    Dict: st.dictionaries(texts | integers, jsons, max_size=3),
    set: st.sets(integers | texts, max_size=3),
}
SIMPLE = {**LEAVES, **CLASSES, **OTHERS}
HASHABLE = [kind for kind in LEAVES if kind not in (bytearray, Decimal)] + [Color, Level, Point, Perm, QueueSection]

kinds = st.sampled_from(list(SIMPLE)).map(lambda kind: (kind, SIMPLE[kind]))
keys = st.sampled_from(HASHABLE).map(lambda kind: (kind, SIMPLE[kind]))


def few(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=3)


def made_of(inner):
    """Annotations made of others, each with a strategy for its values."""

    def one(make):
        return inner.map(lambda part: make(*part))

    def hashed(make):
        return keys.map(lambda part: make(*part))

    def two(make):
        return st.tuples(inner, inner).map(lambda parts: make(*parts[0], *parts[1]))

    def keyed(make):
        return st.tuples(keys, inner).map(lambda parts: make(*parts[0], *parts[1]))

    return st.one_of(
        one(lambda kind, values: (list[kind], few(values))),
        one(lambda kind, values: (List[kind], few(values))),
        one(lambda kind, values: (collections.deque[kind], deques(values))),
        one(lambda kind, values: (Deque[kind], deques(values))),
        one(lambda kind, values: (MutableSequence[kind], few(values))),
        one(lambda kind, values: (Sequence[kind], few(values) | few(values).map(tuple))),
        one(lambda kind, values: (Iterable[kind], few(values) | few(values).map(tuple))),
        one(lambda kind, values: (tuple[kind, ...], few(values).map(tuple))),
        one(lambda kind, values: (Box[kind], st.builds(Box, values, few(values)))),
        one(lambda kind, values: (Optional[kind], st.none() | values)),
        hashed(lambda kind, values: (set[kind], few(values).map(set))),
        hashed(lambda kind, values: (frozenset[kind], few(values).map(frozenset))),
        hashed(lambda kind, values: (AbstractSet[kind], few(values).map(set) | few(values).map(frozenset))),
        hashed(lambda kind, values: (MutableSet[kind], few(values).map(set))),
        hashed(lambda kind, values: (Collection[kind], few(values).map(set) | few(values))),
        two(lambda a, xs, b, ys: (tuple[a, b], st.tuples(xs, ys))),
        two(lambda a, xs, b, ys: (Union[a, b], xs | ys)),
        keyed(lambda key, xs, value, ys: (dict[key, value], st.dictionaries(xs, ys, max_size=3))),
        keyed(lambda key, xs, value, ys: (Mapping[key, value], st.dictionaries(xs, ys, max_size=3))),
    )


annotations = st.recursive(kinds, made_of, max_leaves=4)
annotated = annotations.flatmap(lambda part: st.tuples(st.just(part[0]), part[1]))

unannotated_leaves = st.one_of(*(LEAVES[kind] for kind in LEAVES), failures)
hashable_leaves = st.one_of(*(LEAVES[kind] for kind in LEAVES if kind not in (bytearray, Decimal)))
#: All that may stand where nothing is annotated.
unannotated = st.recursive(
    unannotated_leaves,
    lambda inner: st.one_of(
        few(inner),
        few(inner).map(tuple),
        deques(inner),
        few(hashable_leaves).map(set),
        few(hashable_leaves).map(frozenset),
        st.dictionaries(texts | st.just("$"), inner, max_size=3),
        st.dictionaries(hashable_leaves, inner, max_size=3),
    ),
    max_leaves=6,
)

LEAF_KINDS = tuple(LEAVES)
#: One annotation that all those values fit, of which most members say no to most values.
Everything = Union[
    (
        *reversed(LEAF_KINDS),
        *CLASSES,
        list[Any],
        tuple[Any, ...],
        collections.deque[Any],
        set[Any],
        frozenset[Any],
        dict[Any, Any],
    )
]


@pytest.mark.parametrize("offset", [dt.timedelta(microseconds=number) for number in (1, -1, 10**6)])
def test_offsets_from_utc_that_python_cannot_read_back(offset):
    moment = dt.datetime(2000, 1, 1, tzinfo=dt.timezone(offset))
    check_round_trip(moment, dt.datetime)
    check_round_trip(moment.timetz(), dt.time)


@patient
@given(annotated)
def test_round_trip_by_annotation(case):
    annotation, value = case
    check_round_trip(value, annotation)


@patient
@given(unannotated)
def test_round_trip_by_any_and_by_a_union_of_everything(value):
    plain = check_round_trip(value, Any)
    assert check_round_trip(value, Everything) == plain
    assert check_round_trip([value, value], list[Any]) == [plain, plain]


@patient
@given(st.sampled_from([*LEAVES, *CLASSES]).flatmap(lambda kind: st.tuples(st.just(kind), SIMPLE[kind])))
def test_the_plain_form_depends_on_the_value_alone(case):
    annotation, value = case
    plain = VALUES.encode(value, annotation)
    assert same(VALUES.encode(value, Everything), plain)
    assert same(VALUES.decode(through_json(plain), Everything), value)
    assert same(VALUES.encode(value, Annotated[Optional[annotation], "doc"]), plain)


def test_annotations_that_cannot_be_hashed():
    check_round_trip([1], list[Annotated[int, []]])
    with pytest.raises(ValueMismatch):
        VALUES.encode(["x"], Annotated[list[Annotated[int, []]], {}])


@patient
@given(jsons)
def test_recursive_alias_of_forward_references(value):
    check_round_trip(value, Json, globals())


@patient
@given(st.dictionaries(st.sampled_from(["$", "v", "t", "a"]), jsons | st.sampled_from(["object", "int"]), max_size=4))
def test_dicts_that_look_like_the_plain_form_of_something_else(value):
    check_round_trip(value, Any)
    check_round_trip(value, dict[str, Any])
    check_round_trip(VALUES.encode(value), Any)


@patient
@given(st.sets(hashable_leaves, max_size=6), st.randoms())
def test_sets_are_written_in_the_same_order_whatever_their_history(value, random):
    items = list(value)
    random.shuffle(items)
    assert VALUES.encode(set(items)) == VALUES.encode(value)


def fits(value, annotation):
    """Whether a value fits one of the simple annotations, said in another way than the code does."""
    kind = type(value)
    wider = {int: (int, bool), float: (float, int, bool), pathlib.Path: (type(pathlib.Path()),)}
    if annotation in LEAVES or annotation in (Color, Level, Mode, Perm, Point, Visit, Account, Tree, Failure):
        return kind in wider.get(annotation, (annotation,))
    if annotation is Options:
        return kind is dict and "depth" in value and set(value) <= {"depth", "name"} and fits(value["depth"], int)
    return None


@patient
@given(annotated, st.sampled_from(list(SIMPLE)))
def test_what_does_not_fit_is_refused_and_what_fits_is_not(case, annotation):
    value = case[1]
    fitting = fits(value, annotation)
    assume(fitting is not None)
    if fitting:
        VALUES.encode(value, annotation)
        return
    with pytest.raises(ValueMismatch) as caught:
        VALUES.encode(value, annotation)
    assert caught.value.path or (caught.value.value is value and f"({type(value).__name__})" in str(caught.value))


class Opaque:
    def __repr__(self):
        raise RuntimeError("not for you")


@patient
@given(annotations)
def test_an_object_of_an_unknown_class_fits_nothing(part):
    with pytest.raises(ValueMismatch, match="<Opaque"):
        VALUES.encode(Opaque(), part[0])


hostile_texts = st.sampled_from(
    ["os.system", "Point", "Tree", "Color", "RED", "nan", "0x1", "x" * 50, "2020-01-01", "", "=", "UTC", "../x", "P"]
)
TAGS = """
int float str bytes bytearray tuple set frozenset dict complex datetime date time timedelta uuid decimal
path posixpath windowspath object enum custom failure nonsense
"""
tags = st.sampled_from(TAGS.split())
hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | hostile_texts | st.integers(10**400, 10**401),
    lambda inner: st.one_of(
        few(inner),
        st.dictionaries(st.sampled_from(["$", "v", "t", "zone", "fold", "x", "depth"]), inner, max_size=4),
        st.fixed_dictionaries(
            {"$": tags | inner, "v": inner},
            optional={"t": inner | hostile_texts, "zone": inner | hostile_texts, "fold": inner},
        ),
        st.fixed_dictionaries({"$": tags, "v": few(st.lists(inner, min_size=2, max_size=2))}),
    ),
    max_leaves=8,
)


@patient
@given(hostile, annotations)
def test_hostile_plain_values_are_read_or_refused(plain, part):
    before = {name for name in sys.modules if not name.startswith("tzdata")}
    for annotation in (part[0], Any, Everything):
        try:
            value = VALUES.decode(plain, annotation)
        except ValueMismatch as mismatch:
            mismatch.describe("parameter", "x")
        else:
            VALUES.encode(value, annotation)
    assert {name for name in sys.modules if not name.startswith("tzdata")} == before


def test_nothing_is_imported_by_a_name_from_the_wire():
    for plain in (
        {"$": "object", "t": "antigravity.Point", "v": {}},
        {"$": "enum", "t": "this.Color", "v": "RED"},
        {"$": "custom", "t": "turtledemo.X", "v": 1},
        {"$": "datetime", "v": "2020-01-01T00:00:00", "zone": "../../etc/passwd"},
        {"$": "datetime", "v": "2020-01-01T00:00:00", "zone": "idlelib.run/x"},
    ):
        for annotation in (Any, Point, Color, dt.datetime, Everything):
            try:
                VALUES.decode(plain, annotation)
            except ValueMismatch:
                continue
    assert not {"antigravity", "this", "turtledemo", "idlelib"} & {name.split(".")[0] for name in sys.modules}


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"$": "tuple", "v": [inner]}])
@pytest.mark.parametrize("annotation", [Any, Tree, Everything, list[Any]])
def test_what_is_nested_too_deeply_is_refused(wrap, annotation):
    plain = None
    for _ in range(50_000):
        plain = wrap(plain)
    with pytest.raises(ValueMismatch):
        VALUES.decode(plain, annotation)


def test_nested_mismatches_are_found_in_time_that_does_not_double_with_depth():
    plain: Any = {"$": "object", "t": "Opaque", "v": {}}
    for _ in range(60):
        plain = {"$": "set", "v": [plain]}
    assert isinstance(VALUES.decode(plain), list)
    tree = Tree(1, [])
    bad = Tree("x", [])
    for _ in range(60):
        bad = Tree(1, [tree, bad])
    with pytest.raises(ValueMismatch, match="expects int, got 'x'"):
        VALUES.encode(bad, Tree)


def test_a_value_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueMismatch, match="nested less deeply"):
        VALUES.encode(loop)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("x", int, "it expects int, got 'x' (str)"),
        (None, int, "it expects int, got None (NoneType)"),
        (1, None, "it expects None, got 1 (int)"),
        (1.0, int, "it expects int, got 1.0 (float)"),
        (1, bool, "it expects bool, got 1 (int)"),
        (1, str, "it expects str, got 1 (int)"),
        ([1, "x"], list[int], "it at [1] expects int, got 'x' (str)"),
        ((1, 2), list[int], "it expects list[int], got (1, 2) (tuple)"),
        ((1,), tuple[int, str], "it expects tuple[int, str], got (1,) (tuple)"),
        ((1, 2), tuple[int, str], "it at [1] expects str, got 2 (int)"),
        ((1,), tuple[()], "it expects tuple[()], got (1,) (tuple)"),
        ({"a": [1, "x"]}, dict[str, list[int]], "it at ['a'][1] expects int, got 'x' (str)"),
        ({1: 1}, dict[str, int], "it at .keys()[0] expects str, got 1 (int)"),
        ({"x"}, set[int], "it at {...} expects int, got 'x' (str)"),
        ("abc", Sequence[str], "it expects Sequence[str], got 'abc' (str)"),
        ([1], Optional[list[str]], "it at [0] expects str, got 1 (int)"),
        (1.5, int | str | None, "it expects int | str | None, got 1.5 (float)"),
        (2, Literal[1, "a"], "it expects Literal[1, 'a'], got 2 (int)"),
        (True, Literal[1], "it expects Literal[1], got True (bool)"),
        ([], Literal[1], "it expects Literal[1], got [] (list)"),
        (Tree(1, [Tree("x", [])]), Tree, "it at .children[0].value expects int, got 'x' (str)"),
        (QueueSection("a", (1.0, "b")), QueueSection, "it at .at[1] expects float, got 'b' (str)"),
        ({"depth": "x"}, Options, "it at ['depth'] expects int, got 'x' (str)"),
        ({"x": 1}, Options, "it expects Options, got {'x': 1} (dict); key 'depth' is missing, key 'x' is unknown"),
        (Box("a"), Box[int], "it at .content expects int, got 'a' (str)"),
        ("a" * 200, int, f"it expects int, got 'aaa{'a' * 29}...{'a' * 33}' (str)"),
        (Point(1), Any, "Point(x=1, y=0.5) (Point); annotate it with Point, so that the worker can rebuild it"),
        ([Color.RED], Any, "it at [0] expects Any, got <Color.RED: 'r'> (Color); annotate it with Color"),
        (Level.LOW, Any, "(Level); annotate it with Level, so that the worker can rebuild it"),
        (Level.LOW, str, "it expects str, got <Level.LOW: 1> (Level)"),
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.date, "annotate it with date | datetime, so that"),
        (IntBox(1), Box[int], "annotate it with Box[int] | IntBox, so that"),
        (IntBox(1), Optional[Box[int]], "annotate it with Box[int] | None | IntBox, so that"),
        (collections.OrderedDict(a=1), Any, "send a plain dict, or register the type OrderedDict with the app"),
        (Opaque(), int, "it expects int, got <Opaque"),
        (1, Never, "it expects Never, got 1 (int)"),
    ],
)
def test_messages(value, annotation, message):
    with pytest.raises(ValueMismatch) as caught:
        VALUES.encode(value, annotation)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("plain", "annotation", "message"),
    [
        ({"$": "object", "t": "Point", "v": {"y": 1}}, Point, "field 'x' is missing"),
        ({"$": "object", "t": "Point", "v": {"x": 1, "z": 1}}, Point, "it has no field z"),
        ({"$": "object", "t": "Point", "v": {"x": "a"}}, Point, "it at .x expects int, got 'a' (str)"),
        ({"$": "object", "t": "Other", "v": {"x": 1}}, Point, "it expects Point"),
        ({"$": "enum", "t": "Color", "v": "BLUE"}, Color, "it expects Color"),
        ({"$": "mystery", "v": 1}, Any, "unknown tag 'mystery'"),
        ({"$": "datetime", "v": "2020-01-01T00:00:00", "zone": "No/Where"}, dt.datetime, "it expects datetime"),
        ({"$": "custom", "t": "Celsius", "v": 1}, Celsius, "its decoder raised TypeError"),
    ],
)
def test_messages_of_what_cannot_be_read(plain, annotation, message):
    with pytest.raises(ValueMismatch) as caught:
        VALUES.decode(plain, annotation)
    assert message in str(caught.value)


def test_by_any_a_class_is_read_as_its_fields():
    plain = VALUES.encode([Visit(at=None, where=Point(1)), Color.RED, Perm.R | Perm.W], list[Visit | Color | Perm])
    assert VALUES.decode(plain) == [
        {"at": None, "where": {"x": 1, "y": 0.5}, "tags": [], "count": 0},
        "RED",
        3,
    ]
    plain = VALUES.encode({Point(1)}, set[Point])
    assert VALUES.decode(plain) == [{"x": 1, "y": 0.5}]
    plain = VALUES.encode({Point(1): 2}, dict[Point, int])
    assert VALUES.decode(plain) == [[{"x": 1, "y": 0.5}, 2]]
    assert Values().decode(VALUES.encode(Celsius(3))) == (3, "C")


def test_fields_added_with_a_default_may_be_missing():
    assert VALUES.decode({"$": "object", "t": "Point", "v": {"x": 1}}, Point) == Point(1)


def test_containers_are_copied_both_ways():
    items = [1, 2]
    plain = VALUES.encode(items, list[int])
    items.append(3)
    assert plain == [1, 2]
    value = VALUES.decode(plain, list[int])
    value.append(3)
    assert plain == [1, 2]


def test_a_tzinfo_of_another_library_keeps_its_offset():
    class Odd(dt.tzinfo):
        def utcoffset(self, _when):
            return dt.timedelta(hours=1, seconds=1)

        def dst(self, _when):
            return None

    value = dt.datetime(2020, 1, 1, tzinfo=Odd())
    back = VALUES.decode(through_json(VALUES.encode(value)))
    assert back == value
    assert back.utcoffset() == value.utcoffset()


@pytest.mark.parametrize("offset", [None, "bad"])
def test_a_tzinfo_without_an_offset_is_refused(offset):
    class Broken(dt.tzinfo):
        def utcoffset(self, _when):
            return offset

    with pytest.raises(ValueMismatch):
        VALUES.encode(dt.datetime(2020, 1, 1, tzinfo=Broken()), dt.datetime)


def test_the_zone_of_a_datetime_is_kept_over_its_change_of_offset():
    for fold in (0, 1):
        value = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=fold)
        plain = check_round_trip(value, dt.datetime)
        assert plain["zone"] == "Europe/Paris"


def test_decimals_do_not_depend_on_the_context_of_the_thread():
    import decimal

    with decimal.localcontext(decimal.Context(prec=2, capitals=0, traps=[])):
        check_round_trip(Decimal("123456789E+30"), Decimal)
        with pytest.raises(ValueMismatch):
            VALUES.decode({"$": "decimal", "v": "no number"}, Decimal)


@dataclasses.dataclass
class Unresolved:
    x: Nowhere  # noqa: F821


class Outer:
    @dataclasses.dataclass
    class Point:
        x: int


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Callable[[int], int], "values of Callable"),
        (type[int], "values of type"),
        (list[Opaque], "values of Opaque cannot be sent"),
        (Opaque, "values of Opaque cannot be sent"),
        (Unresolved, "'Nowhere' is not defined"),
        (Iterable[Iterable[threading.Lock]], "cannot be sent"),
        (Literal[1] | collections.OrderedDict[str, int], "cannot be sent"),
    ],
)
def test_unsupported_annotations(annotation, message):
    for _ in range(2):
        with pytest.raises(UnsupportedAnnotation) as caught:
            VALUES.encoder(annotation)
        assert message in str(caught.value)
        assert isinstance(caught.value, InvalidSignature)


def test_namesakes_in_a_union_are_refused():
    @dataclasses.dataclass
    class Namesake:
        x: int

    first = Namesake

    @dataclasses.dataclass
    class Namesake:
        x: int

    with pytest.raises(UnsupportedAnnotation, match="two classes of the same name"):
        VALUES.encoder(Union[first, Namesake])
    VALUES.encoder(Union[Point, Outer.Point])


def test_registering():
    values = Values()
    with pytest.raises(ValueMismatch, match="register the type Celsius with the app"):
        values.encode(Celsius(1))
    with pytest.raises(UnsupportedAnnotation):
        values.encoder(list[Celsius])
    values.register(Celsius, encode=lambda value: value.degrees, decode=Celsius)
    assert values.encode(Celsius(1)) == values.encode(Celsius(1), Celsius) == {"$": "custom", "t": "Celsius", "v": 1}
    assert values.decode(values.encode([Celsius(1)], list[Celsius])) == [Celsius(1)]
    for kind in (int, list, dt.datetime, Fraction, collections.deque, Failure):
        with pytest.raises(ValueError, match="is supported already"):
            values.register(kind, encode=str, decode=kind)
    with pytest.raises(ValueError, match="another class named Celsius"):
        values.register(type("Celsius", (), {}), encode=str, decode=str)


def test_a_registered_encoder_that_fails():
    values = Values()
    values.register(Celsius, encode=lambda value: 1 / 0, decode=Celsius)
    with pytest.raises(ValueMismatch, match="its encoder raised ZeroDivisionError"):
        values.encode(Celsius(1))
    values.register(Celsius, encode=lambda value: value, decode=Celsius)
    with pytest.raises(ValueMismatch, match="nested less deeply"):
        values.encode(Celsius(1))


def test_compiling_from_many_threads():
    values = make_values()
    kinds = [*CLASSES, *OTHERS, Everything, list[Tree], dict[str, Tree]]
    start = threading.Barrier(8)
    faults: list[BaseException] = []

    def compile_all(turn):
        start.wait()
        try:
            for kind in kinds[turn:] + kinds[:turn]:
                values.encoder(kind)
                values.encode(Tree(1, [Tree(2, [])]), Tree)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=compile_all, args=(turn * 4,)) for turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695")
def test_type_statements():
    names: dict[str, Any] = {"Point": Point}
    exec(
        "type Nested = int | list[Nested]\n"
        "type Listed[T] = list[T] | None\n"
        "type Linked[T] = tuple[T, Linked[T] | None]\n"
        "type Endless[T] = T | list[Endless[list[T]]]\n",
        names,
    )
    check_round_trip([1, [2, [3]]], names["Nested"])
    check_round_trip([Point(1)], names["Listed"][Point])
    check_round_trip((1, (2, None)), names["Linked"][int])
    with pytest.raises(ValueMismatch):
        VALUES.encode(["x"], names["Listed"][int])
    with pytest.raises(UnsupportedAnnotation, match="contains itself without end"):
        VALUES.encoder(names["Endless"][int])
