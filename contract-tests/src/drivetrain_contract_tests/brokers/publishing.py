"""Clauses B1 to B5."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from drivetrain.contract import Broker, Message, TooLarge
from drivetrain_contract_tests.attack_payloads import BODIES, NAMES
from drivetrain_contract_tests.brokers.base import Bench, ids, message
from drivetrain_contract_tests.clauses import holds

__all__ = ["Publishing"]


_texts = st.sampled_from(NAMES) | st.text(max_size=50)


def _messages(levels: int) -> st.SearchStrategy[Message]:
    """Messages of one queue that a broker with this number of priority levels must carry. None is large."""
    bodies = st.binary(max_size=200) | st.sampled_from([body for body in BODIES if len(body) < 500])
    return st.builds(
        Message,
        id=_texts.filter(bool),
        queue=st.just("q"),
        body=bodies,
        headers=st.dictionaries(_texts, _texts, max_size=4),
        priority=st.integers(0, levels - 1),
    )


def _carried(each: Message) -> tuple[object, ...]:
    return each.id, each.queue, each.body, sorted(each.headers.items()), each.priority


class Publishing(Bench):
    """What was published arrives, and as it was."""

    @holds("B1")
    def test_what_was_published_is_received_later(self) -> None:
        """When `publish` returns, the service has the message: a consumer that comes later receives it."""
        sender, consumer = self.pair()
        sender.publish([message("a")])
        assert ids(self.take(consumer)) == ["a"]

    @holds("B1")
    def test_what_was_published_outlives_its_sender(self) -> None:
        """A message is there when the object that published it is closed at once; nothing waits to be sent."""
        sender, consumer = self.pair()
        sender.publish([message(f"{number}") for number in range(20)])
        sender.close()
        assert sorted(ids(self.take(consumer, count=20)), key=int) == [f"{number}" for number in range(20)]

    @holds("B1")
    def test_what_changes_after_publish_changes_no_message(self) -> None:
        """The sender may go on to use the dict of headers that it gave."""
        broker, headers = self.fresh(), {"a": "1"}
        broker.publish([message(headers=headers)])
        headers["a"] = "2"
        assert self.take(broker)[0].message.headers == {"a": "1"}

    @holds("B2")
    def test_every_body_arrives_byte_for_byte(self) -> None:
        """Bodies are bytes: empty ones, NUL, no UTF-8 at all, and as many as the broker declares to take."""
        broker, largest = self.fresh(), self.capabilities.largest_message_bytes
        for body in BODIES:
            if largest is None or len(body) <= largest:
                broker.publish([message(body=body)])
                (delivery,) = self.take(broker)
                broker.acknowledge([delivery])
                assert delivery.message.body == body, f"{body[:20]!r}… of {len(body)} bytes arrived as another one"

    @holds("B2")
    def test_any_text_names_a_queue_and_that_queue_only(self) -> None:
        """Names of queues that differ are different queues, whatever is in them, and however long they are.

        A service that takes fewer names than Unicode has needs an encoding that tells all of them apart; cutting long
        ones, folding case or replacing characters does not.
        """
        broker = self.fresh()
        broker.publish([message(f"{number}", name) for number, name in enumerate(NAMES)])
        for number, name in reversed(list(enumerate(NAMES))):
            (delivery,) = self.take(broker, name)
            assert (delivery.message.id, delivery.message.queue) == (f"{number}", name)

    @holds("B2")
    def test_any_text_names_a_header(self) -> None:
        """Names and values of headers arrive as they were, empty ones too; names that differ stay apart."""
        broker, headers = self.fresh(), dict(zip(NAMES, reversed(NAMES), strict=True))
        headers = {name: value for name, value in headers.items() if len(name + value) < 200} | {"": "", "empty": ""}
        broker.publish([message(headers=headers)])
        assert dict(self.take(broker)[0].message.headers) == headers

    @holds("B2")
    def test_any_message_arrives_as_it_was_published(self) -> None:
        """Body, headers, id, queue and priority of any message arrive as they were."""

        @self.profile.settings()
        @hypothesis.given(_messages(self.capabilities.priority_levels))
        def check(sent: Message) -> None:
            broker = self.fresh()
            broker.publish([sent])
            arrived = self.take(broker)[0].message
            self.tidy()
            assert _carried(arrived) == _carried(sent)

        check()

    @holds("B3")
    def test_an_empty_batch_does_nothing(self) -> None:
        """Every method takes an empty batch, and does nothing with it."""
        broker = self.fresh()
        broker.publish([])
        broker.acknowledge([])
        broker.release([])
        broker.release([], delay_seconds=1)
        broker.dead_letter([])
        assert list(broker.extend([], hold_seconds=1)) == []
        assert dict(broker.sizes([])) == {}
        self.none_comes(broker)

    @holds("B3")
    def test_a_batch_for_several_queues(self) -> None:
        """Each message of a batch goes to its own queue."""
        broker = self.fresh()
        broker.publish([message(f"{number}", f"q{number % 3}") for number in range(12)])
        for queue in range(3):
            found = self.take(broker, f"q{queue}", count=4)
            assert sorted(ids(found), key=int) == [f"{number}" for number in range(queue, 12, 3)]

    @holds("B3", "B5")
    def test_any_batch_arrives_whole(self) -> None:
        """Whatever is in a batch, also the same thing twice, arrives as often as it was published."""
        levels = self.capabilities.priority_levels
        batches = st.lists(
            st.builds(
                message, st.sampled_from("abc"), st.sampled_from(("q", "r", "s")), priority=st.integers(0, levels - 1)
            ),
            max_size=15,
        )

        @self.profile.settings()
        @hypothesis.given(batches)
        def check(batch: list[Message]) -> None:
            broker = self.fresh()
            broker.publish(batch)
            arrived = [each.message for each in self.take(broker, "q", "r", "s", count=len(batch))] if batch else []
            self.tidy()
            assert sorted(map(_carried, arrived)) == sorted(map(_carried, batch))

        check()

    @holds("B4", needs="largest_message_bytes")
    def test_the_largest_message_is_carried(self) -> None:
        """A message of exactly the declared size is carried: body, names and values of headers together, in UTF-8."""
        broker, largest = self.fresh(), self.capabilities.largest_message_bytes or 0
        sent = _of_size(largest)
        broker.publish([sent])
        assert self.take(broker)[0].message.body == sent.body

    @holds("B4", needs="largest_message_bytes")
    def test_a_larger_message_is_refused_with_all_of_its_batch(self) -> None:
        """One byte more raises `TooLarge`, and nothing of the batch is published, not what comes before it either."""
        broker, largest = self.fresh(), self.capabilities.largest_message_bytes or 0
        error = _refusal(broker, [message("before"), _of_size(largest + 1), message("after")])
        assert error is not None, "it has published a message that is larger than it declares"
        assert error.size > error.limit
        self.none_comes(broker)
        broker.publish([message("small")])
        assert ids(self.take(broker)) == ["small"]

    @holds("B5")
    def test_the_same_message_twice_is_carried_twice(self) -> None:
        """An id is not unique for the broker: a message that is published twice is two, in one batch and in two."""
        broker = self.fresh()
        broker.publish([message(), message()])
        broker.publish([message()])
        taken = self.take(broker, count=3)
        broker.acknowledge(taken[:2])
        broker.release(taken[2:])
        broker.acknowledge(self.take(broker))
        self.none_comes(broker)


def _of_size(size: int) -> Message:
    headers = {"name": "ü"}
    return message("large", headers=headers, body=b"\xff" * (size - len("name") - len("ü".encode())))


def _refusal(broker: Broker, batch: list[Message]) -> TooLarge | None:
    try:
        broker.publish(batch)
    except TooLarge as error:
        return error
    return None
