"""The checks of a serializer (clauses S…)."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import strategies as st

from drivetrain.app.discovery import Drivers
from drivetrain.app.entry_points import Kind
from drivetrain.contract import DriverContext, SerializationError, Serializer
from drivetrain_contract_tests.clauses import Check, holds
from drivetrain_contract_tests.contract import Contract
from drivetrain_contract_tests.drivers_under_test import Subject
from drivetrain_contract_tests.hostile import BELONG_TO_NO_FORMAT, attacks, tempting_values, watched
from drivetrain_contract_tests.json_values import EDGES, differences, misfits, plain_values

__all__ = ["SerializerContract"]

#: A type and a subtype, as RFC 6838 has them; parameters may follow.
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*( *;.*)?", re.IGNORECASE)

_THREADS = 4
#: How deep values nest that every serializer must carry: arguments hold signatures that hold arguments.
_DEEP = 100


class SerializerContract(Contract):
    """The contract of a serializer.

    Needs the class attribute ``serializer``: the name of one that is installed, or the object itself; or else a
    fixture ``serializer`` that gives either.
    """

    serializer: ClassVar[Any] = None
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
    def test_dumping_changes_nothing_and_gives_bytes(self) -> None:
        """The value that was dumped is the caller's own still, and what comes out is bytes."""
        value = {"b": [1, {"c": 2.5}], "a": None}
        dumped = self.serializer.dumps(value)
        assert type(dumped) is bytes, f"dumps gave {type(dumped).__name__}"
        assert not list(differences({"b": [1, {"c": 2.5}], "a": None}, value))

    @holds("S2")
    def test_bytes_of_no_format_are_refused(self) -> None:
        """What belongs to no format at all is not taken for one."""
        for data in BELONG_TO_NO_FORMAT:
            with pytest.raises(SerializationError):
                self.serializer.loads(data)

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
        for value in tempting_values():
            self._expect_harmless(self.serializer.dumps(value))

    @holds("S4")
    def test_the_content_type_is_a_media_type_and_constant(self) -> None:
        """It marks the bytes, so that whoever receives them knows who reads them."""
        told = self.serializer.content_type
        assert type(told) is str, f"the content type is a {type(told).__name__}"
        assert _MEDIA_TYPE.fullmatch(told), f"{told!r} is no media type, like application/json"
        for value in (None, {"a": [1]}, "text", 2.5):
            self.serializer.loads(self.serializer.dumps(value))
            assert self.serializer.content_type == told, "the content type changes"

    @holds("S5")
    def test_threads_do_not_meet(self) -> None:
        """Several threads dump and load their own values at the same time."""
        rounds = 20 * self.profile.races
        start = threading.Barrier(_THREADS)
        with _nimble_threads(), ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda name: self._work(name, rounds, start), range(_THREADS)))

    def _work(self, name: int, rounds: int, start: threading.Barrier) -> None:
        start.wait(timeout=30)
        for number in range(rounds):
            self._expect_back({"thread": name, "number": number, "list": [name] * (number % 50)})

    def _warm_up(self) -> None:
        # What a serializer imports for its own sake when it is first used is no harm.
        for value in EDGES:
            self.serializer.loads(self.serializer.dumps(value))
        for data in BELONG_TO_NO_FORMAT:
            _quietly(self.serializer, data)

    def _expect_back(self, value: Any) -> None:
        found = self.serializer.loads(self.serializer.dumps(value))
        what = next(differences(value, found), None)
        assert what is None, what

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


@contextmanager
def _nimble_threads() -> Iterator[None]:
    """Let threads take turns as often as Python allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
