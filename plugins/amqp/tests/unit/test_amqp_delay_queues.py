"""Delay queues: a message waits exactly its delay, and arrives in its queue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain_amqp import delay_queues
from drivetrain_amqp.options import Options
from drivetrain_amqp.topology import Bind, BindExchange, DeclareExchange, DeclareQueue, Names, Topology


def _matches(pattern, key):
    """How a topic exchange compares; what AMQP says, word by word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(_matches(pattern[1:], key[start:]) for start in range(len(key) + 1))
    return bool(key) and pattern[0] in {"*", key[0]} and _matches(pattern[1:], key[1:])


def _wait(exchange, key, declared):
    """Where a message arrives, and how long it waits in all on its way through exchanges and queues."""
    ttl = {each.name: each.arguments for each in declared if isinstance(each, DeclareQueue)}
    waited = 0
    while True:
        words = key.split(".")
        to = [
            each
            for each in declared
            if isinstance(each, Bind | BindExchange)
            and (each.exchange if isinstance(each, Bind) else each.source) == exchange
            and _matches(each.key.split("."), words)
        ]
        assert len(to) == 1, f"{key} has {len(to)} routes out of {exchange}"
        if isinstance(to[0], BindExchange):
            exchange = to[0].destination
        elif to[0].queue not in ttl:
            return to[0].queue, waited
        else:
            waited += ttl[to[0].queue]["x-message-ttl"]
            exchange = ttl[to[0].queue]["x-dead-letter-exchange"]


_DECLARED = [
    *delay_queues.declare_exchanges(Names(), delay_queues.LEVELS, {}),
    *(
        delay_queues.due_binding(Names(), queue, levels + 1)
        for queue in ("a.b", "b")
        for levels in range(delay_queues.LEVELS)
    ),
    *(part for each in delay_queues.DELAY_QUEUES for part in delay_queues.declare_delay_queue(Names(), each, {})),
]


_TICKS = st.integers(1, 2**28 - 1) | st.integers(0, 27).map(lambda power: 2**power)


@given(_TICKS)
def test_a_message_waits_exactly_its_delay(ticks):
    """With all delay queues, and with only those that its sender declares."""
    exchange, key = delay_queues.route(Names(), "a.b", ticks)
    levels = delay_queues.levels_for(ticks)
    own = [*delay_queues.declare_exchanges(Names(), levels, {}), delay_queues.due_binding(Names(), "a.b", levels)]
    own += [part for each in delay_queues.path(ticks) for part in delay_queues.declare_delay_queue(Names(), each, {})]
    milliseconds = ticks * delay_queues.TICK_MILLISECONDS
    assert _wait(exchange, key, _DECLARED) == _wait(exchange, key, own) == ("a.b", milliseconds)
    made = {each.name for each in own if isinstance(each, DeclareExchange)}
    above = {each.arguments.get("x-dead-letter-exchange") for each in own if isinstance(each, DeclareQueue)}
    assert above - {None} <= made
    assert sum(each.milliseconds for each in delay_queues.path(ticks)) == milliseconds
    assert len(delay_queues.path(ticks)) <= delay_queues.LEVELS
    assert len(key) < 100


@given(_TICKS)
def test_a_message_moves_only_to_higher_levels(ticks):
    """So a purge from the lowest level up misses none."""
    levels = [each.level for each in delay_queues.path(ticks)]
    assert levels == sorted(set(levels))
    assert set(delay_queues.path(ticks)) <= set(delay_queues.DELAY_QUEUES)


@given(st.floats(0.000_001, delay_queues.LONGEST_DELAY_SECONDS))
def test_a_delay_is_never_rounded_down(seconds):
    assert seconds * 1000 <= delay_queues.ticks_in(seconds) * delay_queues.TICK_MILLISECONDS < 2**32


def test_no_delay_is_zero_ticks():
    assert delay_queues.ticks_in(0) == delay_queues.ticks_in(-5) == 0


def test_the_number_of_delay_queues_is_bounded():
    """W15: there are 162 at most, and no time to live is above the longest of RabbitMQ."""
    queues = [each for each in _DECLARED if isinstance(each, DeclareQueue) and each.name != Names().lost]
    waits = [each.arguments["x-message-ttl"] for each in queues]
    assert len(waits) == 162
    assert max(waits) < 2**32


@pytest.mark.parametrize("query", ["", "?queue_type=quorum"])
def test_delay_queues_forward_at_least_once_whatever_the_type_of_task_queues(query):
    """RabbitMQ accepts one of these arguments without the others, and then forwards without a confirm."""
    arguments = Topology(Options.parse(f"amqp://h{query}")).delay_arguments()
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"


def test_a_delayed_message_without_a_route_goes_to_the_queue_of_lost_messages():
    """But RabbitMQ returns it to its sender at the entrance."""
    exchanges = {each.name: each for each in _DECLARED if isinstance(each, DeclareExchange)}
    lost = exchanges.pop(Names().lost)
    assert exchanges.pop(Names().delay_entrance).alternate == ""
    assert {each.alternate for each in exchanges.values()} == {lost.name}
    assert [each.queue for each in _DECLARED if isinstance(each, Bind) and each.exchange == lost.name] == [Names().lost]
