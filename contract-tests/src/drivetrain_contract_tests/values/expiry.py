"""Values that end by themselves (V4)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from drivetrain.contract import Backend, ValueOutcome, VersionedValue
from drivetrain_contract_tests.backends.base import LONG, SHORT, BackendBase
from drivetrain_contract_tests.backends.calls import counts
from drivetrain_contract_tests.backends.clocks import skewed_pairs
from drivetrain_contract_tests.backends.concurrency import Background
from drivetrain_contract_tests.backends.timing import EXACT_SECONDS, LONG_TIMES, Timed, assert_ends, eventually, timed
from drivetrain_contract_tests.backends.value_calls import SOON, listed, listed_keys, put, read, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["ExpiryChecks"]

#: Times that are 0 in the units of some services, where 0 may stand for no end.
_SHORT_TIMES = (0.000_9, 0.000_000_9)
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
        for seconds in _SHORT_TIMES:
            key = f"read, {seconds} s"
            asked.append((_is_read, seconds, key, timed(stored, one, key, seconds=seconds)))
        for key, before in (("shorter", LONG), ("longer", SHORT), ("the same", EXACT_SECONDS), ("ends now", None)):
            stored(one, key, seconds=before)
            asked.append((_is_read, EXACT_SECONDS, key, timed(stored, one, key, seconds=EXACT_SECONDS)))
        ends = [
            Background(assert_ends, partial(there, other, key), since, seconds, self.resolution)
            for there, seconds, key, since in asked
        ]
        for each in ends:
            each.result()

    @holds("V4", "V8")
    def test_a_value_that_has_ended_is_gone_for_every_method(self) -> None:
        """It is as if it had been removed: no version of it is stored, and a write with 0 takes effect.

        Nobody looks at some of the values between their end and the call, for a driver may drop what it finds.
        """
        one, other = self.several(2)
        names = ("version", "removal", "zero", "always", "unread")
        versions = {name: stored(one, name, seconds=SOON) for name in names}
        stored(one, "witness", seconds=SOON)
        eventually(lambda: read(one, "witness") is None, _ENDED, SOON + self.resolution + self.patience_seconds)
        threading.Event().wait(self.resolution)  # the others may be later than the witness
        gone = ValueOutcome(written=False, current=None)
        assert write(other, "version", b"new", if_version=versions["version"]) == gone
        assert write(other, "removal", None, if_version=versions["removal"]) == gone
        assert stored(other, "zero", if_version=0) > versions["zero"]
        assert stored(other, "always") > versions["always"]
        assert read(other, "unread") is None
        assert listed_keys(one, limit=1) == ["always", "zero"], "what has ended is listed, or ends a list"
        one.sweep()  # which drops the values that have ended, and not those that were written since
        assert listed_keys(one) == ["always", "zero"]
        assert counts(one)["values"] == 2

    @holds("V4")
    def test_a_later_write_replaces_the_end(self) -> None:
        """A write without an end, or with a later one, keeps the value when its first end has come.

        So does a write after a removal.
        """
        one, other = self.several(2)
        for key in ("without", "later", "removed", "witness"):
            stored(one, key, seconds=SOON)
        write(other, "removed", None)
        stored(other, "removed")
        stored(other, "without", seconds=None)
        stored(other, "later", seconds=LONG)
        eventually(lambda: read(one, "witness") is None, _ENDED, SOON + self.resolution + self.patience_seconds)
        threading.Event().wait(self.resolution)  # the others may be later than the witness
        one.sweep()
        without, later = one.read_values(["without", "later"])
        assert without is not None, "a value without an end has ended at the end of an earlier one"
        assert without.expires_in_seconds is None
        assert later is not None, "a value has ended at the end of an earlier one"
        assert listed_keys(other) == ["later", "removed", "without"], "a value ended at the end of a removed one"

    @holds("V4")
    def test_the_answers_say_how_much_time_is_left(self) -> None:
        """Outcomes, reads and lists have what is left of the time, and None for a value without an end."""
        one, other = self.several(2)
        seconds = 1_000.0
        since = timed(write, one, seconds=seconds)
        self._assert_left(since, since.answer.current, seconds, "write")
        stored(one, "without")
        threading.Event().wait(3 * _SLACK)
        refused = timed(write, other, if_version=0)
        self._assert_left(since, refused.answer.current, seconds, "refused write", refused)
        for backend in (one, other):
            found = timed(read, backend)
            self._assert_left(since, found.answer, seconds, "read", found)
            page = timed(listed, backend)
            (_, left), (_, without) = sorted(page.answer)
            self._assert_left(since, left, seconds, "list", page)
            assert without.expires_in_seconds is None, "a list says that a value without an end has one"
            assert read(backend, "without") == without

    def _assert_left(
        self,
        since: Timed[Any],
        found: VersionedValue | None,
        seconds: float,
        what: str,
        asked: Timed[Any] | None = None,
    ) -> None:
        """Assert that a call has answered how much time was left of ``seconds`` after the write ``since``."""
        assert found is not None
        left = found.expires_in_seconds
        assert left is not None, f"the answer of a {what} says that the value has no end"
        least, most = seconds, seconds + self.resolution
        if asked is not None:
            least, most = least - (asked.ended - since.began), most - (asked.began - since.ended)
        assert least - _SLACK <= left <= most + _SLACK, (
            f"the answer of a {what} says that {left:.3f} s are left; it should be {least:.3f} s to {most:.3f} s"
        )

    @holds("V4")
    def test_a_long_time_is_not_cut_short(self) -> None:
        """Times beyond what a service's units hold are kept all the same."""
        one, other = self.several(2)
        since = timed(one.write_values, [put(f"{seconds}", seconds=seconds) for seconds in LONG_TIMES])
        one.sweep()
        for seconds in LONG_TIMES:
            found = timed(read, other, f"{seconds}")
            assert found.answer is not None, f"a value for {seconds} s is gone already"
            self._assert_left(since, found.answer, seconds, "read", found)

    @holds("V4")
    def test_a_value_without_an_end_stays(self) -> None:
        """It stays when others end around it, and when what has ended is swept."""
        backend = self.fresh()
        version = stored(backend)
        since = timed(stored, backend, "ends", seconds=SOON)
        assert_ends(partial(_is_read, backend, "ends"), since, SOON, self.resolution)
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
