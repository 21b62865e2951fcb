"""Any sequence of calls to versioned values, next to a model (V1, V3, V5 to V8)."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from drivetrain.contract import Backend, ValueWrite, VersionedValue, takes_effect
from drivetrain_contract_tests.backends.base import LONG, BackendBase
from drivetrain_contract_tests.backends.value_calls import listed
from drivetrain_contract_tests.clauses import holds

__all__ = ["ValueMachineChecks"]

_KEYS = ("a", "ab", "b")

_which = st.integers(0, 1)
_keys = st.sampled_from(_KEYS)
_values = st.sampled_from([b"", b"1", b"2"])
_ends = st.sampled_from([None, None, LONG])
#: Which version a write names: none at all, none stored, or the last one of its key but so many.
_named = st.sampled_from([None, "absent", 0, 0, 0, 1, 2])
_asked = st.tuples(_keys, st.one_of(st.none(), _values, _values), _named, _ends)


class ValueMachineChecks(BackendBase):
    """The same calls to two objects and to a dict."""

    @holds("V1", "V3", "V5", "V6", "V7", "V8")
    def test_every_sequence_of_writes_goes_as_the_model_says(self) -> None:
        """Whatever is written and removed in whatever order: outcomes, values and lists are those of the model."""
        machine = cast("type[_Calls]", lambda: _Calls(self.several(2)))  # a factory will do
        run_state_machine_as_test(machine, settings=self.profile.settings())


class _Calls(RuleBasedStateMachine):
    """Two objects on one namespace, what is stored, and all versions that each key had."""

    def __init__(self, backends: list[Backend]) -> None:
        super().__init__()
        self.backends = backends
        self.stored: dict[str, VersionedValue] = {}
        self.versions: dict[str, list[int]] = {key: [] for key in _KEYS}

    @rule(which=_which, asked=_asked)
    def write(self, which: int, asked: Any) -> None:
        self._write(which, [self._write_of(*asked)])

    @rule(which=_which, batch=st.lists(_asked, min_size=2, max_size=5))
    def write_batch(self, which: int, batch: list[Any]) -> None:
        self._write(which, [self._write_of(*asked) for asked in batch])

    @rule(which=_which, key=_keys)
    def swap(self, which: int, key: str) -> None:
        """Remove a value and store it again in one batch."""
        version = self.stored[key].version if key in self.stored else 0
        self._write(
            which,
            [
                ValueWrite(key=key, value=None, if_version=version),
                ValueWrite(key=key, value=b"again", if_version=0),
                ValueWrite(key=key, value=b"late", if_version=version),
            ],
        )

    @rule(which=_which)
    def sweep(self, which: int) -> None:
        self.backends[which].sweep()

    @rule(which=_which, prefix=st.sampled_from(["", "a", "ab", "c"]), limit=st.integers(1, 4))
    def list_pages(self, which: int, prefix: str, limit: int) -> None:
        found = [(key, _bare(value)) for key, value in listed(self.backends[which], prefix, limit)]
        expected = [(key, _bare(value)) for key, value in self.stored.items() if key.startswith(prefix)]
        assert sorted(found) == sorted(expected)

    @invariant()
    def values_are_as_in_the_model(self) -> None:
        for backend in self.backends:
            found = dict(zip(_KEYS, backend.read_values(_KEYS), strict=True))
            assert {key: _bare(value) for key, value in found.items() if value is not None} == {
                key: _bare(value) for key, value in self.stored.items()
            }

    def teardown(self) -> None:
        for backend in self.backends:
            backend.close()

    def _write_of(self, key: str, value: bytes | None, named: int | str | None, seconds: float | None) -> ValueWrite:
        versions = self.versions[key]
        if isinstance(named, int):
            # The last version of the key but `named`; where it never had one, a version that nothing has.
            named = versions[::-1][min(named, len(versions) - 1)] if versions else 1
        if_version = 0 if named == "absent" else cast("int | None", named)
        return ValueWrite(
            key=key, value=value, if_version=if_version, expires_in_seconds=None if value is None else seconds
        )

    def _write(self, which: int, batch: list[ValueWrite]) -> None:
        for write, outcome in zip(batch, self.backends[which].write_values(batch), strict=True):
            before = self.stored.get(write.key)
            assert outcome.written is takes_effect(write, before), f"{write} on {before}: {outcome}"
            if not outcome.written:
                assert _bare(outcome.current) == _bare(before)
            elif write.value is None:
                assert outcome.current is None
                self.stored.pop(write.key, None)
            else:
                assert outcome.current is not None
                assert outcome.current.value == write.value
                assert (outcome.current.expires_in_seconds is None) == (write.expires_in_seconds is None)
                assert outcome.current.version > max(self.versions[write.key], default=0)
                self.versions[write.key].append(outcome.current.version)
                self.stored[write.key] = outcome.current


def _bare(value: VersionedValue | None) -> tuple[bytes, int, bool] | None:
    """A value without what changes with time."""
    return None if value is None else (value.value, value.version, value.expires_in_seconds is None)
