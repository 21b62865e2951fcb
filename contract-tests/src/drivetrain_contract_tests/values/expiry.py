"""Values that end by themselves (V4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from drivetrain.contract import Backend, ValueOutcome, VersionedValue
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import counts
from drivetrain_contract_tests.backends.clocks import skewed_pairs
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.backends.timing import EXACT_SECONDS, LONG_TIMES, assert_ends, eventually, timed
from drivetrain_contract_tests.backends.value_calls import listed_keys, put, read, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["ExpiryChecks"]

#: What is left of a time may differ from the clock of this process by as much, in seconds.
_SLACK = 0.05
_ENDED = "the value ends"


class ExpiryChecks(BackendBase):
    """A value is there until its end, and gone for every method afterwards."""

    @holds("V4")
    def test_a_value_ends_by_itself(self) -> None:
        """It is there until its end and gone soon after, for each method that can see it, asked by another object.

        The time of a value is not a share of it shorter, nor is that of a write that makes it longer or shorter.
        """
        one, other = self.several(2)
        asked = [
            (there, seconds, key, timed(stored, one, key, seconds=seconds))
            for name, there in _QUESTIONS.items()
            for seconds in (SHORT, EXACT_SECONDS)
            for key in [f"{name}, {seconds} s"]
        ]
        for key, before in (("shorter", LONG), ("longer", SHORT), ("the same", EXACT_SECONDS), ("ends now", None)):
            stored(one, key, seconds=before)
            asked.append((_is_read, EXACT_SECONDS, key, timed(stored, one, key, seconds=EXACT_SECONDS)))
        ends = [
            Background(assert_ends, partial(there, other, key), since, seconds, self.resolution)
            for there, seconds, key, since in asked
        ]
        for each in ends:
            each.result()

    @holds("V4")
    def test_a_value_that_has_ended_is_gone_for_every_method(self) -> None:
        """It is as if it had been removed: no version of it is stored, and a write with 0 takes effect.

        Nobody looks at some of the values between their end and the call, for a driver may drop what it finds.
        """
        one, other = self.several(2)
        names = ("version", "removal", "zero", "always", "unread")
        versions = {name: stored(one, name, seconds=SHORT) for name in names}
        stored(one, "witness", seconds=SHORT)
        eventually(lambda: read(one, "witness") is None, _ENDED, SHORT + self.resolution + self.patience_seconds)
        threading.Event().wait(self.resolution)  # the others may be later than the witness
        gone = ValueOutcome(written=False, current=None)
        assert write(other, "version", b"new", if_version=versions["version"]) == gone
        assert write(other, "removal", None, if_version=versions["removal"]) == gone
        assert stored(other, "zero", if_version=0) > versions["zero"]
        assert stored(other, "always") > versions["always"]
        assert read(other, "unread") is None
        assert listed_keys(one) == ["always", "zero"]
        assert counts(one)["values"] == 2

    @holds("V4")
    def test_a_later_write_replaces_the_end(self) -> None:
        """A write without an end, or with a later one, keeps the value when its first end has come."""
        one, other = self.several(2)
        for key in ("without", "later", "witness"):
            stored(one, key, seconds=SHORT)
        stored(other, "without", seconds=None)
        stored(other, "later", seconds=LONG)
        eventually(lambda: read(one, "witness") is None, _ENDED, SHORT + self.resolution + self.patience_seconds)
        threading.Event().wait(self.resolution)  # the others may be later than the witness
        one.sweep()
        without, later = one.read_values(["without", "later"])
        assert without is not None, "a value without an end has ended at the end of an earlier one"
        assert without.expires_in_seconds is None
        assert later is not None, "a value has ended at the end of an earlier one"
        assert listed_keys(other) == ["later", "without"]

    @holds("V4")
    def test_the_answers_say_how_much_time_is_left(self) -> None:
        """Outcomes, reads and lists have what is left of the time, and None for a value without an end."""
        one, other = self.several(2)
        seconds = 1_000.0
        began = time.monotonic()
        outcome = write(one, seconds=seconds)
        stored(one, "without")
        threading.Event().wait(2 * _SLACK)
        refused = write(other, if_version=0)
        (_, listed), (_, without) = sorted(other.list_values("", limit=10).values)
        for what, found in (("write", outcome.current), ("refusal", refused.current), ("list", listed)):
            self._assert_left(what, found, seconds, began)
        self._assert_left("read", read(one), seconds, began)
        assert without.expires_in_seconds is None
        found = read(other, "without")
        assert found is not None
        assert found.expires_in_seconds is None

    def _assert_left(self, what: str, found: VersionedValue | None, seconds: float, began: float) -> None:
        assert found is not None
        left = found.expires_in_seconds
        assert left is not None, f"the answer of a {what} says that the value has no end"
        least = seconds - (time.monotonic() - began) - _SLACK
        most = seconds + self.resolution + _SLACK
        assert least <= left <= most, f"the answer of a {what} says that {left} s are left of {seconds} s"

    @holds("V4")
    def test_a_long_time_is_not_cut_short(self) -> None:
        """Times beyond what a service's units hold are kept all the same."""
        one, other = self.several(2)
        began = time.monotonic()
        one.write_values([put(f"{seconds}", seconds=seconds) for seconds in LONG_TIMES])
        one.sweep()
        for seconds, found in zip(LONG_TIMES, other.read_values([f"{seconds}" for seconds in LONG_TIMES]), strict=True):
            assert found is not None, f"a value for {seconds} s is gone already"
            self._assert_left("read", found, seconds, began)

    @holds("V4")
    def test_a_value_without_an_end_stays(self) -> None:
        """It stays when others end around it, and when what has ended is swept."""
        backend = self.fresh()
        version = stored(backend)
        since = timed(stored, backend, "ends", seconds=SHORT)
        assert_ends(partial(_is_read, backend, "ends"), since, SHORT, self.resolution)
        backend.sweep()
        assert read(backend) == VersionedValue(value=b"v", version=version)

    @holds("V4")
    def test_the_end_is_counted_by_the_clock_of_the_service(self) -> None:
        """A client whose clock is hours ahead or behind ends no value, and its own values last as long."""
        for right, wrong in skewed_pairs(self):
            for writer, reader in ((right, wrong), (wrong, right)):
                key = f"of {'right' if writer is right else 'wrong'}"
                version = stored(writer, key, seconds=LONG)
                reader.sweep()
                found = read(reader, key)
                assert found is not None, "clocks that differ have ended a value"
                assert found.expires_in_seconds is not None
                assert found.expires_in_seconds <= LONG + self.resolution + 1, (
                    "clocks that differ have prolonged a value"
                )
                assert not write(reader, key, if_version=0).written, "clocks that differ have ended a value"
                assert stored(reader, key, seconds=LONG, if_version=version) > version
                assert read(writer, key) is not None, "clocks that differ have ended a value"


def _is_read(backend: Backend, key: str) -> bool:
    return read(backend, key) is not None


def _is_listed(backend: Backend, key: str) -> bool:
    return key in listed_keys(backend)


def _refuses_a_write(backend: Backend, key: str) -> bool:
    return not write(backend, key, if_version=0).written


_QUESTIONS: dict[str, Callable[[Backend, str], bool]] = {
    "read": _is_read,
    "list": _is_listed,
    "write": _refuses_a_write,
}
