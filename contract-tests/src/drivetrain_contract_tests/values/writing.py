"""Writes that depend on what is stored, and removals (V1, V5)."""

from __future__ import annotations

from drivetrain.contract import LARGEST_VERSION, Backend, ValueOutcome, ValueWrite, VersionedValue
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.calls import counts
from drivetrain_contract_tests.backends.value_calls import listed_keys, outcomes, put, read, remove, stored, write
from drivetrain_contract_tests.clauses import holds

__all__ = ["WritingChecks"]

#: What is left of a long time may be less by the time that a check takes, and by a unit of the service.
_ABOUT_SECONDS = 60.0


class WritingChecks(BackendBase):
    """A write takes effect where `if_version` allows it, and changes nothing elsewhere."""

    @holds("V1")
    def test_a_write_takes_effect_where_nothing_is_stored(self) -> None:
        """With 0 and with None, but not with a version, which nothing stored can have."""
        backend = self.fresh()
        for if_version in (0, None):
            key = f"k{if_version}"
            version = stored(backend, key, if_version=if_version)
            assert read(backend, key) == VersionedValue(value=b"v", version=version)
        for if_version in (1, 2, LARGEST_VERSION):
            outcome = write(backend, "unknown", if_version=if_version)
            assert outcome == ValueOutcome(written=False, current=None)
        assert read(backend, "unknown") is None, "a write that was refused has stored a value"

    @holds("V1")
    def test_a_write_takes_effect_on_the_version_that_it_names(self) -> None:
        """A write with the stored version, or with None, replaces the value; its outcome has the new one."""
        one, other = self.several(2)
        version = stored(one, value=b"first")
        for if_version, value in ((True, b"second"), (False, b"third")):
            version = stored(other, value=value, if_version=version if if_version else None)
            assert read(one) == VersionedValue(value=value, version=version)

    @holds("V1")
    def test_a_write_on_another_version_changes_nothing(self) -> None:
        """A write with an earlier version, a later one or 0 is refused, and so is a removal.

        The outcome has what is stored. Value, version and end stay as they were.
        """
        one, other = self.several(2)
        earlier = stored(one, value=b"earlier")
        version = stored(one, value=b"stored", seconds=LONG)
        for if_version in (0, earlier, version - 1, version + 1, LARGEST_VERSION):
            for value in (b"new", b"stored", b"", None):
                outcome = write(other, value=value, if_version=if_version, seconds=1.0 if value else None)
                what = f"a write of {value!r} with if_version={if_version}, where the version is {version},"
                assert not outcome.written, f"{what} took effect"
                _assert_is(outcome.current, b"stored", version, f"the outcome of {what}")
                _assert_is(read(one), b"stored", version, f"the value after {what}")

    @holds("V1", "V5")
    def test_a_removal_takes_effect_as_a_write_does(self) -> None:
        """With the stored version, and with None; then nothing is stored, and a write with 0 takes effect."""
        one, other = self.several(2)
        for names_it in (True, False):
            version = stored(one, if_version=0)
            outcome = write(other, value=None, if_version=version if names_it else None)
            assert outcome == ValueOutcome(written=True, current=None)
            assert read(one) is None, "a value is stored after its removal"
            assert listed_keys(one) == []
            stored(one, if_version=0)
            write(one, value=None)

    @holds("V5")
    def test_to_remove_what_is_not_stored_changes_nothing(self) -> None:
        """It takes effect with 0 and with None; with a version it is refused. Nothing is stored afterwards."""
        backend = self.fresh()
        version = stored(backend)
        assert write(backend, value=None).written
        for key in ("k", "never written"):
            for if_version in (0, None):
                assert write(backend, key, None, if_version=if_version) == ValueOutcome(written=True, current=None)
            for if_version in (version, 1, LARGEST_VERSION):
                assert write(backend, key, None, if_version=if_version) == ValueOutcome(written=False, current=None)
        assert listed_keys(backend) == []
        assert counts(backend)["values"] == 0

    @holds("V5")
    def test_a_write_that_is_repeated_does_no_more_than_the_first(self) -> None:
        """Each write that names a version or 0 takes effect once; its repetition finds what the first one stored."""
        backend = self.fresh()
        version = _written_once(backend, put(value=b"1", if_version=0))
        version = _written_once(backend, put(value=b"2", if_version=version))
        removal = remove(if_version=version)
        assert outcomes(backend, removal, removal) == [
            ValueOutcome(written=True, current=None),
            ValueOutcome(written=False, current=None),
        ]
        assert stored(backend, if_version=0) > version

    @holds("V1", "V3")
    def test_a_value_that_was_written_again_is_another_one(self) -> None:
        """A caller has seen a value. Another removes it and writes the same bytes again: the first writes nothing."""
        one, other = self.several(2)
        seen = stored(one)
        write(other, value=None)
        again = stored(other)
        for value in (b"new", None):
            outcome = write(one, value=value, if_version=seen)
            assert not outcome.written, "a write took effect on the version of a value that was removed"
        _assert_is(read(other), b"v", again, "the value", ends=False)

    @holds("V1")
    def test_each_key_has_its_own_version(self) -> None:
        """The version of one key allows no write of another key, unless it is the same number."""
        backend = self.fresh()
        versions = {key: stored(backend, key) for key in ("a", "b", "a", "c")}
        for key, version in versions.items():
            for other, another in versions.items():
                if another != version:
                    assert not write(backend, other, if_version=version).written, f"{other} has the version of {key}"
        for key, version in versions.items():
            assert write(backend, key, if_version=version).written


def _written_once(backend: Backend, asked: ValueWrite) -> int:
    """Make a write and repeat it; the version that it has given."""
    (outcome,) = outcomes(backend, asked)
    assert outcome.written
    assert outcome.current is not None
    for _ in range(2):
        assert outcomes(backend, asked) == [ValueOutcome(written=False, current=outcome.current)]
    return outcome.current.version


def _assert_is(found: VersionedValue | None, value: bytes, version: int, what: str, *, ends: bool = True) -> None:
    assert found is not None, f"{what} is None, and should be {value!r}"
    assert (found.value, found.version) == (value, version), f"{what} is {found}, and should be version {version}"
    left = found.expires_in_seconds
    if ends:
        assert left is not None, f"{what} has no end any more"
        assert LONG - _ABOUT_SECONDS <= left <= LONG + _ABOUT_SECONDS, f"{what} ends in {left} s"
    else:
        assert left is None, f"{what} ends in {left} s"
