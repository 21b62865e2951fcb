"""Names that systems take for each other: of queues, messages and headers (B2, B6, B28, B30, B31, B34, B35)."""

from __future__ import annotations

from drivetrain.contract import DEAD_REASON_HEADER, QueueSection
from drivetrain_contract_tests.attack_payloads import ALIKE, NAMES
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Names"]

#: A few of each kind of names that are alike; patterns first, so that one that matches the others finds them.
_PATTERNS = ("*", "?", "a*", "a?", "a[b]", "[a-z]*", "%", "a%", ".*", "#")
_LOOKALIKES = tuple(
    dict.fromkeys(
        (
            *_PATTERNS,
            *(name for group in ALIKE[:7] for name in group[:4]),
            *("ab", "name\0", "name\u200b", "1", "01", "None", "a:b", "a%3Ab", "a/b"),
            *("x" * 254 + end for end in ("a", "b", "aa", "ab")),
        )
    )
)


class Names(Bench):
    """Two names are the same only if they are the same text, character by character."""

    @holds("B2")
    def test_any_text_is_an_id(self) -> None:
        """Ids arrive as they were, also those that another system would cut, fold or normalize."""
        broker = self.fresh()
        broker.publish([message(name) for name in NAMES])
        found = sorted(ids(self.take(broker, count=len(NAMES))))
        changed = [f"{name[:60]!r} ({len(name)} characters)" for name in sorted(NAMES) if name not in found]
        assert found == sorted(NAMES), f"ids that did not arrive as they were: {', '.join(changed)}"

    @holds("B2")
    def test_large_headers_arrive(self) -> None:
        """Long values, long names, many headers, and all of these together, arrive as they were."""
        long = {"a value": "v" * 5_000, "n" * 300: "name", "n" * 300 + "x": "another name"}
        many = {f"header {number}": f"value {number}" for number in range(300)}
        broker, largest = self.fresh(), self.capabilities.largest_message_bytes or 10**9
        for headers in (long, many, {**long, **many}):
            if sum(len(name) + len(value) for name, value in headers.items()) < largest:
                broker.publish([message(headers=headers)])
                (delivery,) = self.take(broker)
                found = dict(delivery.message.headers)
                wrong = [name[:40] for name in {**headers, **found} if headers.get(name) != found.get(name)]
                assert not wrong, f"of {len(headers)} headers, {len(wrong)} are not as they were, such as {wrong[:3]}"
                broker.acknowledge([delivery])

    @holds("B2", "B6")
    def test_names_that_are_alike_are_different_queues(self) -> None:
        """A queue gives its own messages and no others, whatever its name looks like or matches."""
        broker = self.fresh()
        broker.publish([message(name, name) for name in _LOOKALIKES])
        for name in _LOOKALIKES:
            found = ids(broker.receive([name], limit=9, wait_seconds=self.patience_seconds, hold_seconds=30))
            assert found == [name], f"the queue {name!r} gave the messages {found}"

    @holds("B31", "B34")
    def test_names_that_are_alike_are_counted_and_purged_apart(self) -> None:
        """`sizes` and `purge` take a name as it stands: not as a pattern, and not normalized."""
        broker = self.fresh()
        broker.publish([message(name, name) for name in _LOOKALIKES])
        for name in _LOOKALIKES:
            self.await_sizes(broker, name, ready=1)
        for name in _LOOKALIKES:
            told = broker.purge(name, QueueSection.READY)
            assert self.counted(told, 1), f"of one message in the queue {name!r} it has purged {told}"

    @holds("B30")
    def test_names_that_are_alike_are_replayed_apart(self) -> None:
        """Dead letters belong to the queue in which they died, and to no other whose name is alike."""
        broker, names = self.fresh(), _LOOKALIKES[::2]
        broker.publish([message(name, name) for name in names])
        for name in names:
            broker.dead_letter([(each, "why") for each in self.take(broker, name)])
        for name in names:
            assert broker.replay(name) == 1, f"of one dead letter of the queue {name!r}"
            assert ids(self.take(broker, name)) == [name]

    @holds("B30")
    def test_ids_that_are_alike_are_replayed_and_dropped_apart(self) -> None:
        """A dead letter is chosen by its id as it stands."""
        broker = self.fresh()
        broker.publish([message(name) for name in _LOOKALIKES])
        broker.dead_letter([(each, "why") for each in self.take(broker, count=len(_LOOKALIKES))])
        replayed, dropped = _LOOKALIKES[::2], _LOOKALIKES[1::2]
        for number, name in enumerate(_LOOKALIKES):
            act = broker.drop_dead_letters if number % 2 else broker.replay
            told = act("q", [name])
            assert told == 1, f"of one dead letter with the id {name[:60]!r} it has taken {told}"
        found = sorted(ids(self.take(broker, count=len(replayed))))
        assert found == sorted(replayed), f"dropped, and replayed all the same: {set(found) & set(dropped)}"

    @holds("B35", needs="lists_queues")
    def test_names_that_are_alike_are_listed_apart(self) -> None:
        """`queues` gives each name as it was used."""
        broker = self.fresh()
        broker.publish([message(queue=name) for name in _LOOKALIKES])
        assert list(broker.queues()) == sorted(_LOOKALIKES)

    @holds("B28")
    def test_any_text_is_a_reason(self) -> None:
        """Each letter of a batch has its own reason, as it was given."""
        reasons = ["", " padded \n", "e\u0301", "\xe9", "nul\0", "line\r\n", "x" * 5_000, '{"a": 1}', "{}", "%s"]
        broker = self.fresh()
        broker.publish([message(f"{number}") for number in range(len(reasons))])
        taken = sorted(self.take(broker, count=len(reasons)), key=lambda each: int(each.message.id))
        broker.dead_letter(list(zip(taken, reasons, strict=True)))
        found = {each.id: each.headers[DEAD_REASON_HEADER] for each in self.dead(broker)}
        assert found == {f"{number}": reason for number, reason in enumerate(reasons)}

    @holds("B28")
    def test_large_headers_of_a_dead_letter_are_kept(self) -> None:
        """What was published is kept when a message is put aside, however large its headers are."""
        broker, headers = self.fresh(), {"a value": "v" * 5_000, **{f"h{number}": "x" * 60 for number in range(100)}}
        if (self.capabilities.largest_message_bytes or 10**9) < 60_000:
            headers = {"a": "b"}
        broker.publish([message(headers=headers)])
        broker.dead_letter([(self.take(broker)[0], "why")])
        (dead,) = self.dead(broker)
        lost = [name for name, value in headers.items() if dead.headers.get(name) != value]
        assert not lost, f"of {len(headers)} headers, a dead letter has lost {len(lost)}, such as {lost[:3]}"
