"""Keys, which may be any text, and values, which may be any bytes (V9)."""

from __future__ import annotations

import random

from drivetrain.contract import Backend, ServiceError, TooLarge, ValueWrite, name_digest
from drivetrain_contract_tests.attack_payloads import BODIES, NAMES
from drivetrain_contract_tests.backends.base import LARGEST_REFUSED, LONG, BackendBase
from drivetrain_contract_tests.backends.calls import (
    HOSTILE_NAMES,
    NOTHING,
    counts,
    known,
    open_group,
    payloads_up_to,
    record,
    transition,
)
from drivetrain_contract_tests.backends.value_calls import listed, listed_keys, outcomes, put, read, stored, write
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.contract import NotDeclared

__all__ = ["ValueNameChecks"]

#: A larger value is not tried: values are small.
_LARGEST_KEPT = 16 * 1024 * 1024
#: As many that two of them meet where keys are hashed to 16 bits.
_MANY = 800
#: Texts with half a surrogate pair, the character that the pair is, and what half a pair is often replaced by.
_SURROGATES = ("\ud83d", "\ud83d\ude00", "\U0001f600", "\udfff%", "a\ud800", "a\ud800b", "?", "??", "\ufffd", "")


class ValueNameChecks(BackendBase):
    """Each text is a key of its own, and each value is stored byte for byte."""

    @holds("V9")
    def test_keys_do_not_meet(self) -> None:
        """Each key has its own value, version and end, also keys that look alike."""
        backend = self.fresh()
        keys = list(dict.fromkeys([*HOSTILE_NAMES, *NAMES, ""]))
        answers = outcomes(backend, *[put(key, _value(key), if_version=0) for key in keys])
        for key, answer in zip(keys, answers, strict=True):
            assert answer.written, f"nothing is stored under {key!r:.80}, and a write with 0 was refused"
        assert [each and each.value for each in backend.read_values(keys)] == [_value(key) for key in keys]
        for key in keys[::3]:
            assert write(backend, key, None).written
        found = dict(zip(keys, backend.read_values(keys), strict=True))
        for number, key in enumerate(keys):
            value = found[key]
            if number % 3 == 0:
                assert value is None, f"the key {key!r:.80} is stored after its removal"
            else:
                assert value is not None, f"the key {key!r:.80} went with the removal of another one"
        assert listed_keys(backend) == sorted(key for number, key in enumerate(keys) if number % 3)

    @holds("V9")
    def test_many_keys_do_not_meet(self) -> None:
        """Hundreds of keys have each a value of their own: keys that are hashed to 16 bits meet."""
        backend = self.fresh()
        names = random.Random(0)
        keys = [names.randbytes(8).hex() for _ in range(_MANY)]
        answers = outcomes(backend, *[put(key, key.encode(), if_version=0) for key in keys])
        assert [key for key, answer in zip(keys, answers, strict=True) if not answer.written] == [], "keys meet"
        values = [each and each.value for each in backend.read_values(keys)]
        assert values == [key.encode() for key in keys]

    @holds("V9")
    def test_half_a_surrogate_pair_is_taken_or_refused(self) -> None:
        """A text that UTF-8 does not have is a key like any other, or is refused with a ServiceError.

        It is never cut, replaced or joined to the character that a pair stands for.
        """
        backend = self.fresh()
        taken = list[str]()
        for key in _SURROGATES:
            try:
                stored(backend, key, ascii(key).encode(), if_version=0)
            except ServiceError:
                continue
            taken.append(key)
        values = [each and each.value for each in backend.read_values(taken)]
        assert values == [ascii(key).encode() for key in taken]
        assert listed_keys(backend) == sorted(taken)
        for prefix in (*taken, "a"):
            assert listed_keys(backend, prefix) == sorted(key for key in taken if key.startswith(prefix))

    @holds("V9", "V11")
    def test_keys_do_not_meet_the_ids_of_tasks_groups_and_bodies(self) -> None:
        """A value, a task, a group and a body of one name are apart, also when one of them goes."""
        backend = self.fresh()
        record(backend, transition("x", payload=b"task"))
        open_group(backend, 2, "x", continuation=b"group")
        backend.store_bodies({"x": b"body"})
        assert read(backend, "x") is None, "a task, group or body is read as a value"
        assert listed_keys(backend) == [], "a task, group or body is listed as a value"
        version = stored(backend, "x", b"value", if_version=0)
        assert counts(backend) == {**NOTHING, "tasks": 1, "groups": 1, "bodies": 1, "values": 1}
        write(backend, "x", None, if_version=version)
        assert known(backend, "x"), "the removal of a value has dropped the task of its key"
        assert list(backend.load_bodies(["x"])) == [b"body"], "the removal of a value has dropped the body of its key"
        assert backend.read_groups(["x"])[0] is not None, "the removal of a value has dropped the group of its key"
        stored(backend, "x", b"value", if_version=0, seconds=LONG)
        backend.forget(["x"])
        backend.drop_bodies(["x"])
        record(backend, transition("x", retention=0.0))
        assert not known(backend, "x")
        backend.sweep()
        found = read(backend, "x")
        assert found is not None, "a value went with the task, group or body of its name"
        assert found.value == b"value"
        assert counts(backend) == {**NOTHING, "values": 1}

    @holds("V6", "V9")
    def test_any_value_is_kept_byte_for_byte(self) -> None:
        """Empty values, bytes that are not text, and large ones: read and listed as they were written."""
        backend = self.fresh()
        largest = self.declared().largest_value_bytes
        values = list(dict.fromkeys([*payloads_up_to(largest), *(body[:largest] for body in BODIES)]))
        backend.write_values([put(f"k{number}", value) for number, value in enumerate(values)])
        keys = [f"k{number}" for number in range(len(values))]
        found = [each and each.value for each in backend.read_values(keys)]
        assert found == values
        assert {type(each) for each in found} == {bytes}, "values are read as something else than bytes"
        entries = {key: value.value for key, value in listed(backend, "k", limit=len(values))}
        for key, value in zip(keys, values, strict=True):
            assert entries[key] == value, f"a list has {entries[key]!r:.80} in place of {value!r:.80}"

    @holds("V9")
    def test_the_largest_value_is_kept(self) -> None:
        """A value of exactly the declared size is stored."""
        largest = _largest(self, _LARGEST_KEPT)
        backend = self.fresh()
        value = b"x" * largest
        stored(backend, value=value)
        found = read(backend)
        assert found is not None
        assert found.value == value

    @holds("V9")
    def test_a_value_that_is_too_large_is_refused_with_its_batch(self) -> None:
        """It raises TooLarge, and nothing of its batch is written, whichever place the value has.

        So it does where its `if_version` would refuse it.
        """
        largest = _largest(self, LARGEST_REFUSED)
        backend = self.fresh()
        version = stored(backend, "stored", b"before")
        large = put("large", b"x" * (largest + 1))
        small = [put("stored", b"after", if_version=version), put("new", b"new"), put("stored", None)]
        refused = put("stored", b"x" * (largest + 1), if_version=0)
        for batch in ([large, *small], [*small, large], [*small[:1], large, *small[1:]], [large], [refused]):
            assert _is_too_large(backend, batch), "a value of more than `largest_value_bytes` was not refused"
            values = [each and each.value for each in backend.read_values(["stored", "new", "large"])]
            assert values == [b"before", None, None], "a batch was written in part though one value was too large"
        assert outcomes(backend, *small)[0].written


def _value(key: str) -> bytes:
    return name_digest(key).encode()


def _is_too_large(backend: Backend, batch: list[ValueWrite]) -> bool:
    try:
        backend.write_values(batch)
    except TooLarge:
        return True
    return False


def _largest(checks: BackendBase, tried: int) -> int:
    largest = checks.declared().largest_value_bytes
    if largest is None or largest > tried:
        raise NotDeclared(f"not declared: largest_value_bytes of at most {tried}")
    return largest
