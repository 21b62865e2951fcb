"""What a record holds, and what is read of it (R9, R10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import State, TaskRecord, TooLarge
from drivetrain_contract_tests.backends.base import LARGEST_REFUSED, LARGEST_TRIED, LONG, BackendBase
from drivetrain_contract_tests.backends.calls import (
    HOSTILE_NAMES,
    done,
    granted,
    open_group,
    payloads_up_to,
    progress,
    read,
    record,
    start,
    transition,
)
from drivetrain_contract_tests.clauses import holds
from drivetrain_contract_tests.comparing import assert_same
from drivetrain_contract_tests.contract import NotRun

__all__ = ["RecordChecks"]

#: Beyond a mebibyte, at which services and clients cut values.
_LARGE = 2**20 + 1


class RecordChecks(BackendBase):
    """What was recorded is read."""

    @holds("R9")
    def test_payloads_are_read_byte_for_byte(self) -> None:
        """Payloads, what waits for a task, members and continuations are bytes, and come back as they were.

        Services that know JSON, numbers or text like to read meaning into values; encode what they would change.
        """
        backend = self.fresh()
        for number, payload in enumerate(payloads_up_to(backend.capabilities.largest_value_bytes)):
            record(backend, transition(f"t{number}", payload=payload, downstream=payload))
            open_group(backend, 1, f"g{number}", continuation=payload)
            progress(backend, [done(0, payload, f"g{number}")])
            found, (group,) = read(backend, f"t{number}"), backend.read_groups([f"g{number}"])
            assert found is not None
            assert group is not None
            (member,) = backend.read_members(f"g{number}")
            for value in (found.payload, found.downstream, group.continuation, member):
                assert isinstance(value, bytes), f"read as {type(value)}"
                assert value == payload, f"{payload[:50]!r} was changed to {value[:50]!r}"

    @holds("R9")
    def test_any_payload_is_read_as_it_was(self) -> None:
        """Whatever the bytes are, they are read as they were recorded."""
        backend = self.fresh()
        numbers = iter(range(10**9))

        @self.profile.settings()
        @given(st.lists(st.binary() | st.text().map(str.encode), min_size=1, max_size=20))
        def any_payload(payloads: list[bytes]) -> None:
            payloads = [payload[: backend.capabilities.largest_value_bytes] for payload in payloads]
            names = [f"t{next(numbers)}" for _ in payloads]
            record(backend, *[transition(name, payload=payload) for name, payload in zip(names, payloads, strict=True)])
            assert [found and found.payload for found in backend.read(names)] == payloads

        any_payload()

    @holds("R9")
    def test_an_empty_payload_is_not_none(self) -> None:
        """An empty stored value differs from a value that was not stored."""
        backend = self.fresh()
        record(
            backend, transition("none", State.PENDING), transition("empty", State.PENDING, payload=b"", downstream=b"")
        )
        values = [found and (found.payload, found.downstream) for found in backend.read(["none", "empty"])]
        assert values == [(None, None), (b"", b"")]

    @holds("R9")
    def test_what_a_transition_does_not_tell_stays(self) -> None:
        """A transition without a payload, a name or `downstream` keeps the earlier values."""
        backend = self.fresh()
        sent = transition(state=State.PENDING, payload=b"1", downstream=b"2", task="mod.add")
        record(backend, sent, start(), transition(run="r"))
        found = read(backend)
        assert found is not None
        assert (found.payload, found.downstream, found.task) == (b"1", b"2", "mod.add")

    @holds("R9")
    def test_queue_workflow_and_parent_stay(self) -> None:
        """They are those of the first record through every later change, a retry and a repeated sending included."""
        backend = self.fresh()
        origin: dict[str, Any] = {"queue": "mails", "workflow": "the first", "parent": "the one before"}
        sent = transition(state=State.PENDING, task="mod.add", **origin)
        steps = (
            sent,
            transition(state=State.PENDING),
            start(task="mod.add"),
            transition(state=State.RECEIVED, run="r"),
            start(run="s", task="mod"),
            transition(state=State.RETRY, run="s", task="mod.add"),
            start(run="t", attempt=1, task="mod.add"),
            transition(run="t", attempt=1, retention=LONG),
        )
        for step in steps:
            assert granted(backend, step) == [True]
            assert _origin(read(backend)) == ("mails", "the first", "the one before"), f"after {step.state}"

    @holds("R9")
    def test_each_of_queue_workflow_and_parent_is_replaced_alone(self) -> None:
        """A transition that has one of them changes this one, in every state, and whether or not there were others."""
        backend = self.fresh()
        changes: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
            ({}, ("", "", "")),
            ({"parent": "p"}, ("", "", "p")),
            ({"workflow": "w"}, ("", "w", "p")),
            ({"queue": "q"}, ("q", "w", "p")),
            ({"queue": "q 2", "parent": "p 2"}, ("q 2", "w", "p 2")),
        ]
        for change, expected in changes:
            record(backend, transition("sent", State.PENDING, **change), start("started", **change))
            assert [_origin(found) for found in backend.read(["sent", "started"])] == [expected] * 2, f"after {change}"
        record(backend, transition("started", run="r", workflow="w 2"))
        assert _origin(read(backend, "started")) == ("q 2", "w 2", "p 2")

    @holds("R9")
    def test_what_a_later_transition_tells_replaces_it(self) -> None:
        """Payload, name and what waits are those of the last transition that tells them, an empty one included."""
        backend = self.fresh()
        record(backend, transition(state=State.PENDING, payload=b"1", downstream=b"2", task="first"))
        record(backend, start(payload=b"", downstream=b"3", task="second"))
        found = read(backend)
        assert found is not None
        assert (found.payload, found.downstream, found.task) == (b"", b"3", "second")
        record(backend, transition(run="r", payload=b"4", downstream=b""))
        found = read(backend)
        assert found is not None
        assert (found.payload, found.downstream, found.task) == (b"4", b"", "second")

    @holds("R9", "R31")
    def test_all_that_is_large_is_carried(self) -> None:
        """What waits for a task, a continuation, a member and a body may be as large as a payload.

        Each is looked at by itself, so that a record may hold twice as much.
        """
        backend = self.fresh()
        large = bytes(range(251)) * (self._large() // 251 + 1)
        large = large[: self._large()]
        record(backend, transition(payload=large[::-1], downstream=large))
        open_group(backend, 1, continuation=large)
        progress(backend, [done(0, large)])
        backend.store_bodies({"b": large})
        found, (group,), (member,) = read(backend), backend.read_groups(["g"]), backend.read_members("g")
        assert found is not None
        assert group is not None
        values = {
            "a payload": (found.payload, large[::-1]),
            "what waits for a task": (found.downstream, large),
            "a continuation": (group.continuation, large),
            "the payload of a member": (member, large),
            "a body": (backend.load_bodies(["b"])[0], large),
        }
        for what, (read_back, expected) in values.items():
            assert read_back is not None
            assert read_back == expected, f"{what} of {len(expected)} bytes was changed to {len(read_back)} bytes"

    def _large(self) -> int:
        """A number of bytes beyond what services cut at, or the largest that is declared."""
        largest = self.declared().largest_value_bytes
        return min(_LARGE if largest is None else largest, _LARGE)

    @holds("R9")
    def test_a_large_payload_is_carried(self) -> None:
        """A payload of the largest size, or a megabyte where any is carried, is read as it was."""
        backend = self.fresh()
        largest = backend.capabilities.largest_value_bytes
        payload = b"\xff" * min(_LARGE if largest is None else largest, LARGEST_TRIED)
        record(backend, transition(payload=payload))
        found = read(backend)
        assert found is not None
        assert found.payload == payload

    @holds("R9", needs="largest_value_bytes")
    def test_a_payload_that_is_too_large_is_refused(self) -> None:
        """Beyond the declared largest each value is refused, whatever it is of, and what was there before stays.

        Some services drop the old value when they refuse a new one: look at the size before you write.
        """
        backend, large = self.fresh(), bytes(self._beyond())
        record(backend, start(payload=b"before"))
        before = read(backend)
        open_group(backend, 1)
        backend.store_bodies({"b": b"before"})
        _assert_too_large(lambda: record(backend, transition(run="r", payload=large)))
        _assert_too_large(lambda: record(backend, transition(run="r", downstream=large)))
        _assert_too_large(lambda: open_group(backend, 1, "h", continuation=large))
        _assert_too_large(lambda: progress(backend, [done(0, large)]))
        _assert_too_large(lambda: backend.store_bodies({"b": large}))
        assert read(backend) == before
        assert list(backend.read_members("g")) == [None]
        assert list(backend.read_groups(["h"])) == [None]
        assert list(backend.load_bodies(["b"])) == [b"before"]
        assert record(backend, transition(run="r"))[0].applied

    def _beyond(self) -> int:
        largest = self.declared().largest_value_bytes
        assert largest is not None
        if largest >= LARGEST_REFUSED:
            raise NotRun(f"values beyond {LARGEST_REFUSED} bytes are not tried")
        return largest + 1

    @holds("R10")
    def test_records_are_read_in_the_order_asked_for(self) -> None:
        """The answer has an entry for each id: in that order, repetitions included, None for what is not known."""
        backend = self.fresh()
        record(backend, *[transition(name) for name in "abcdefgh"])
        asked = ["h", "unknown", "a", "c", "h", "b", "never sent", "g"]
        expected = ["h", None, "a", "c", "h", "b", None, "g"]
        assert [found and found.task_id for found in backend.read(asked)] == expected

    @holds("R10")
    def test_many_records_are_read_at_once(self) -> None:
        """A batch may be larger than what a service takes in one request."""
        backend = self.fresh()
        names = [f"t{number}" for number in range(1_500)]
        record(backend, *[transition(name, payload=name.encode()) for name in names])
        records = backend.read(names[::-1])
        payloads = [found and found.payload for found in records]
        assert_same(payloads, [name.encode() for name in reversed(names)], "the payloads")

    @holds("R10")
    def test_any_text_is_an_id(self) -> None:
        """Ids, runs, and the names of tasks, queues and workers are any text; alike ones are not the same."""
        backend = self.fresh()
        record(
            backend,
            *[
                start(name, run=name, task=name, queue=name, workflow=name, parent=name, worker=name)
                for name in HOSTILE_NAMES
            ],
        )
        for name, found in zip(HOSTILE_NAMES, backend.read(HOSTILE_NAMES), strict=True):
            assert found is not None
            assert (found.task_id, found.run, found.task) == (name, name, name)
            assert _origin(found) == (name, name, name)
            assert found.history[State.STARTED].worker == name
        assert list(backend.read([f"{name}?" for name in HOSTILE_NAMES])) == [None] * len(HOSTILE_NAMES)


def _origin(found: TaskRecord | None) -> tuple[str, str, str]:
    assert found is not None
    return found.queue, found.workflow, found.parent


def _assert_too_large(call: Callable[[], object]) -> None:
    try:
        call()
    except TooLarge:
        return
    raise AssertionError("a value beyond largest_value_bytes was not refused with TooLarge")
