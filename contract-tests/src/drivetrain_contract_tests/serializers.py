"""The checks of a serializer (clauses S…)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from types import CodeType
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import strategies as st

from drivetrain.app.discovery import Drivers
from drivetrain.app.entry_points import Kind
from drivetrain.contract import DriverContext, SerializationError, Serializer
from drivetrain_contract_tests.attack_payloads import BELONG_TO_NO_FORMAT, attacks, naming_values, tempting_values
from drivetrain_contract_tests.brokers.background import frequent_switches, rounds, together
from drivetrain_contract_tests.clauses import Check, holds
from drivetrain_contract_tests.contract import Contract
from drivetrain_contract_tests.drivers_under_test import Subject
from drivetrain_contract_tests.json_values import EDGES, differences, misfits, plain_values
from drivetrain_contract_tests.load_audit import watched

__all__ = ["SerializerContract"]

#: A type and a subtype, as RFC 6838 has them; parameters may follow.
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*( *;.*)?", re.IGNORECASE)

_THREADS = 4
#: How many texts of a serializer's own code are tried as keys, and how long a key of a type is at most.
_KEYS_TRIED, _LONGEST_KEY = 200, 20
#: At the end of a counter of bytes or items, and beyond.
_LENGTHS = (127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 65_537)
#: How deep values nest that every serializer must carry: arguments hold signatures that hold arguments.
_DEEP = 100


class SerializerContract(Contract):
    """The contract of a serializer.

    Needs the class attribute ``serializer``: the name of one that is installed, or the object itself; or else a
    fixture ``serializer`` that gives either. The suite does not know its format: name in ``bad`` what it must refuse.
    """

    serializer: ClassVar[Any] = None
    #: Bytes that are not of its format, and that it must refuse. The suite adds some that belong to no format.
    bad: ClassVar[Sequence[bytes]] = ()
    _name: ClassVar[str] = ""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _reach(cls, request: pytest.FixtureRequest) -> None:
        cls.reach(cls.serializer if _given(cls.serializer) else request.getfixturevalue("serializer"))

    @classmethod
    def reach(cls, service: Any) -> None:
        """Set the serializer, given by its name or as an object."""
        cls._name = service if isinstance(service, str) else ""
        cls.serializer = Drivers(DriverContext()).serializer(service) if isinstance(service, str) else service

    @classmethod
    def subjects(cls) -> list[Subject]:
        """The serializer."""
        return [Subject(Kind.SERIALIZER, cls._name, lambda: cls.serializer, installed=bool(cls._name))]

    def require(self, check: Check) -> None:
        """Every check applies to every serializer."""

    @holds("S1")
    def test_every_plain_value_comes_back_as_it_was(self) -> None:
        """Values of any shape, drawn by Hypothesis."""

        @self.profile.settings()
        @hypothesis.given(plain_values())
        def comes_back(value: Any) -> None:
            self._expect_back(value)

        comes_back()

    @holds("S1")
    def test_values_at_the_edges_come_back_as_they_were(self) -> None:
        """The smallest and the largest, signed zeros, and text that looks like something else."""
        for value in (*EDGES, *tempting_values()):
            self._expect_back(value)
            self._expect_back([value, {"in a dict": value}])

    @holds("S1")
    def test_large_and_deep_values_come_back_as_they_were(self) -> None:
        """Megabytes of text, many items, many keys, and lists in dicts in lists."""
        many = self.profile.large
        deep: Any = "bottom"
        for _ in range(_DEEP // 2):
            deep = [{"further": deep}]
        for value in ("é" * 1_000_000, list(range(many)), {f"key {number}": number for number in range(many)}, deep):
            self._expect_back(value)

    @holds("S1")
    def test_values_of_every_length_come_back_as_they_were(self) -> None:
        """Texts, keys, lists and dicts whose length is at the end of a counter, or one beyond it."""
        for length in _LENGTHS:
            self._expect_back(["x" * length, "é" * length, {"k" * length: 1, "k" * (length - 1) + "l": 2}])
            self._expect_back([list(range(length)), {f"{number}": None for number in range(length)}])

    @holds("S1")
    def test_dumping_changes_nothing_and_gives_bytes(self) -> None:
        """The value that was dumped is the caller's own still, and what comes out is bytes."""
        for value in ({"b": [1, {"c": 2.5, "a": None}], "a": None}, [3, 1, [2, None, {"z": 1, "y": 2}]], *EDGES):
            before = deepcopy(value)
            dumped = self.serializer.dumps(value)
            assert type(dumped) is bytes, f"dumps gave {type(dumped).__name__}"
            self._expect_same(before, value, "dumps has changed its argument: ")

    @holds("S1")
    def test_each_call_is_on_its_own(self) -> None:
        """What was dumped or loaded before is neither given again, nor changed by what is done with it since."""
        value: Any = {"list": [1], "dict": {"a": 1}}
        first = self.serializer.dumps(value)
        value["list"].append(2)
        value["dict"]["b"] = [3]
        self._expect_back(value)
        for dumped in (first, self.serializer.dumps([[1], {"a": {}}])):
            expected = deepcopy(self.serializer.loads(dumped))
            _spoil(self.serializer.loads(dumped))
            self._expect_same(expected, self.serializer.loads(dumped), "what was loaded before has been changed: ")

    @holds("S1")
    def test_a_dump_that_fails_leaves_nothing_behind(self) -> None:
        """After a value that is not plain, which is not laid down, the next one is dumped as ever."""
        for odd in (object(), [1, object()], {"a": [{"b": object()}]}, {"a": {1, 2}}, {1: 2}, [float("nan")]):
            with suppress(Exception):
                self.serializer.dumps(odd)
            for value in ([1, {"a": 2}], {"a": [1]}, "text"):
                self._expect_back(value)

    @holds("S2")
    def test_bytes_of_no_format_are_refused(self) -> None:
        """What belongs to no format at all is not taken for one."""
        for data in (*BELONG_TO_NO_FORMAT, *self.bad, *self._other_text()):
            self._expect_refused(data)

    @holds("S2")
    def test_no_bytes_are_no_value(self) -> None:
        """Empty bytes and blanks are refused, unless they are what the serializer makes of a value itself."""
        own = {self.serializer.dumps(value) for value in EDGES}
        for data in (b"", b" ", b"\n", b"\r\n\t "):
            if data not in own:
                self._expect_refused(data)

    @holds("S2")
    def test_what_follows_a_value_is_refused(self) -> None:
        """Bytes hold one value. A second one behind it, or a NUL and anything, is not of the format."""
        for value in ({"a": 1}, [1, 2], "text", None, True):
            dumped = self.serializer.dumps(value)
            for rest in (dumped, b"\0", b"\0" + dumped, b"x", b"\xff"):
                if self.serializer.dumps(value) != dumped + rest:
                    self._expect_refused(dumped + rest)

    def _other_text(self) -> Iterator[bytes]:
        """Where the content type says JSON: JSON in an encoding that is none of its own (RFC 8259, section 8.1)."""
        if re.fullmatch(r"[^;]*[/+]json *(;.*)?", self.serializer.content_type, re.IGNORECASE) is not None:
            for text in ("{}", "[1]", '"text"', "1", "null"):
                for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"):
                    yield text.encode(encoding)

    @holds("S2")
    def test_hostile_bytes_give_a_plain_value_or_a_serialization_error(self) -> None:
        """Nothing else: no other error, and no value that is not plain, like NaN or half a surrogate pair."""
        for data in attacks():
            self._expect_plain_or_refused(data)

    @holds("S2")
    def test_any_bytes_give_a_plain_value_or_a_serialization_error(self) -> None:
        """Bytes drawn by Hypothesis."""

        @self.profile.settings()
        @hypothesis.given(st.binary(max_size=200))
        def plain_or_refused(data: bytes) -> None:
            self._expect_plain_or_refused(data)

        plain_or_refused()

    @holds("S2", "S3")
    def test_damaged_bytes_give_a_plain_value_or_a_serialization_error(self) -> None:
        """What was dumped, cut short or with one byte changed."""

        @self.profile.settings()
        @hypothesis.given(plain_values(), st.data())
        def plain_or_refused(value: Any, data: st.DataObject) -> None:
            dumped = self.serializer.dumps(value)
            at = data.draw(st.integers(0, max(0, len(dumped) - 1)))
            byte = bytes([data.draw(st.integers(0, 255))])
            for damaged in (dumped[:at], dumped[:at] + byte + dumped[at + 1 :]):
                self._expect_harmless(damaged)
                self._expect_plain_or_refused(damaged)

        plain_or_refused()

    @holds("S3")
    def test_hostile_bytes_execute_and_import_nothing(self) -> None:
        """Pickles, code, YAML tags, XML entities, and JSON with the names of classes."""
        self._warm_up()
        for data in attacks():
            self._expect_harmless(data)

    @holds("S3")
    def test_values_that_name_code_are_data(self) -> None:
        """A serializer that rebuilds objects must not do so because a value looks like one of its own."""
        self._warm_up()
        for value in (*tempting_values(), *naming_values(_texts_of_the_code(self.serializer))):
            self._expect_harmless(self.serializer.dumps(value))
            self._expect_harmless(self.serializer.dumps([{"in": value}]))

    @holds("S4")
    def test_the_content_type_is_a_media_type_and_constant(self) -> None:
        """It marks the bytes, so that a receiver knows which serializer reads them."""
        told = self.serializer.content_type
        assert type(told) is str, f"the content type is a {type(told).__name__}"
        assert _MEDIA_TYPE.fullmatch(told), f"{told!r} is not a media type, like application/json"
        for value in (None, {"a": [1]}, "text", 2.5):
            self.serializer.loads(self.serializer.dumps(value))
            assert self.serializer.content_type == told, f"the content type changes after {value!r} was carried"
        for data in BELONG_TO_NO_FORMAT:
            _quietly(self.serializer, data)
            assert self.serializer.content_type == told, "the content type changes after bytes were refused"

    @holds("S5")
    def test_threads_do_not_meet(self) -> None:
        """Several threads dump and load their own values at the same time."""
        with frequent_switches():
            for number in rounds(2 * self.profile.seconds):
                together([partial(self._work, thread, number) for thread in range(_THREADS)])

    def _work(self, thread: int, number: int) -> None:
        for size in range(40):
            self._expect_back({"thread": thread, "number": number, "list": [thread] * size})

    def _warm_up(self) -> None:
        # What a serializer imports for its own sake when it is first used does not count.
        for value in EDGES:
            self.serializer.loads(self.serializer.dumps(value))
        for data in BELONG_TO_NO_FORMAT:
            _quietly(self.serializer, data)

    def _expect_back(self, value: Any) -> None:
        expected = deepcopy(value)
        found = self.serializer.loads(self.serializer.dumps(value))
        self._expect_same(expected, found)

    def _expect_same(self, expected: Any, found: Any, what: str = "") -> None:
        difference = next(differences(expected, found), None)
        assert difference is None, f"{what}{difference}"

    def _expect_refused(self, data: bytes) -> None:
        try:
            value = self.serializer.loads(data)
        except SerializationError:
            return
        except BaseException as error:
            raise AssertionError(f"loading {data[:60]!r} raised {type(error).__name__}: {error!s:.100}") from error
        raise AssertionError(f"{data[:60]!r} is not of the format, and was loaded as {value!r:.60}")

    def _expect_plain_or_refused(self, data: bytes) -> None:
        try:
            value = self.serializer.loads(data)
        except SerializationError:
            return
        except BaseException as error:
            raise AssertionError(f"loading {data[:60]!r} raised {type(error).__name__}: {error!s:.100}") from error
        what = next(misfits(value), None)
        assert what is None, f"loading {data[:60]!r} gave something that is not plain: {what}"

    def _expect_harmless(self, data: bytes) -> None:
        with watched() as done:
            _quietly(self.serializer, data)
            harm = done()
        assert not harm, f"loading {data[:80]!r} did this: {', '.join(harm[:5])}"


def _given(serializer: object) -> bool:
    # A fixture that stands in the class has the same name as the attribute.
    return isinstance(serializer, (str, Serializer))


def _quietly(serializer: Serializer, data: bytes) -> None:
    with suppress(Exception):  # another check looks at what is raised
        serializer.loads(data)


def _spoil(value: Any) -> None:
    """Change a value that was loaded, everywhere."""
    if isinstance(value, dict):
        for item in value.values():
            _spoil(item)
        value["spoilt"] = True
    elif isinstance(value, list):
        for item in value:
            _spoil(item)
        value.append("spoilt")


def _texts_of_the_code(serializer: Serializer) -> list[str]:
    """Short texts in the module of a serializer: under one of them it may look for the name of a type."""
    module = sys.modules.get(type(serializer).__module__)
    values = [*vars(type(serializer)).values(), *(vars(module).values() if module is not None else ())]
    constants = [each for code in _codes(values) for each in code.co_consts]
    found = dict.fromkeys(text for value in (*constants, *_closed_over(values), *values) for text in _texts(value))
    return [text for text in found if 0 < len(text) <= _LONGEST_KEY and not any(misfits(text))][:_KEYS_TRIED]


def _texts(value: object) -> Iterator[str]:
    """A text, or those in a sequence, a set or the keys of a mapping."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list, dict, set, frozenset)):
        yield from (each for each in value if isinstance(each, str))


def _closed_over(values: Iterable[object]) -> Iterator[object]:
    """What functions have taken from the functions around them."""
    for value in values:
        for cell in getattr(value, "__closure__", None) or ():
            with suppress(ValueError):  # it is still empty
                yield cell.cell_contents


def _codes(values: Iterable[object]) -> Iterator[CodeType]:
    """The code of functions and of the methods of classes, with what is nested in it."""
    for value in values:
        if isinstance(value, type):
            yield from _codes(vars(value).values())
        code = getattr(value, "__code__", None)
        if isinstance(code, CodeType):
            yield from _nested(code)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)
