"""What of the driver needs no server: URLs, names, delays, frames, envelopes, holds and errors."""

import inspect
import itertools
import ssl
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import exceptions, frame, spec

from drivetrain.contract import (
    AuthenticationFailed,
    ConfigurationError,
    DriverContext,
    Host,
    Message,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
)
from drivetrain_amqp import envelope, ladder, make_broker, wire
from drivetrain_amqp.errors import CLIENT_ERRORS, translated
from drivetrain_amqp.handshake import decoded
from drivetrain_amqp.holds import Holds
from drivetrain_amqp.names import Names
from drivetrain_amqp.options import Options
from drivetrain_amqp.topology import Bind, BindExchange, DeclareExchange, DeclareQueue, Topology

# URLs


def test_a_bare_url_has_rabbitmqs_defaults():
    options = Options.parse("amqp://localhost")
    assert (options.hosts, options.vhost, options.tls) == ((Host("localhost", 5672),), "/", False)
    assert (options.user, options.password, options.max_priority) == ("guest", "guest", 9)


def test_a_full_url_is_taken_apart():
    options = Options.parse("amqps://us%40er:p%2Fw@one,two:5673,[::1]:99/v%2Fhost?queue_type=quorum&prefetch=10")
    assert options.hosts == (Host("one", 5671), Host("two", 5673), Host("::1", 99))
    assert (options.user, options.password, options.vhost) == ("us@er", "p/w", "v/host")
    assert (options.tls, options.quorum, options.prefetch, options.max_priority) == (True, True, 10, 0)


@pytest.mark.parametrize("path", ["", "/", "/%2F"])
def test_the_usual_virtual_host_has_three_spellings(path):
    assert Options.parse(f"amqp://localhost{path}").vhost == "/"


def test_arguments_of_queues_have_types():
    options = Options.parse("amqp://h?queue_arguments=x-max-length:10,x-overflow:reject-publish,x-single:true")
    assert options.queue_arguments == {"x-max-length": 10, "x-overflow": "reject-publish", "x-single": True}


@pytest.mark.parametrize(
    ("query", "mode"),
    [("", "lazy"), ("?queue_mode=lazy", "lazy"), ("?queue_mode=default", None), ("?queue_type=quorum", None)],
)
def test_classic_queues_are_lazy_unless_told_otherwise(query, mode):
    """But for those of delays, whose messages are to be at hand when they are due."""
    topology = Topology(Options.parse(f"amqp://h{query}"))
    (task, *_), (dead, *_) = topology.task_queue("q"), topology.dead_queue("q.dead")
    assert task.arguments.get("x-queue-mode") == dead.arguments.get("x-queue-mode") == mode
    assert "x-queue-mode" not in topology.rung_arguments()


def test_every_fault_is_named_and_no_secret():
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(
            "amqp://me:hunter2@,host:x/?prefetchh=1&max_priority=300&queue_type=lazy&namespace=&exchange=amq.x"
            "&heartbeat_seconds=-1&queue_arguments=x-queue-type:quorum&management_url=host"
        )
    assert len(caught.value.faults) == 10
    assert "did you mean 'prefetch'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["tasks", "tasks.#.{queue}", "{queue}.{queue}", "*.{queue}"])
def test_one_key_for_several_queues_is_refused(key):
    """Otherwise every message would be copied to each of them (W23)."""
    with pytest.raises(ConfigurationError, match="binding_key"):
        Options.parse(f"amqp://h?exchange=e&binding_key={key.replace('#', '%23')}")


@pytest.mark.parametrize(
    "query", ["exchange_type=topic", "binding_key={queue}.x", "ca_file=x", "queue_type=quorum&queue_mode=lazy"]
)
def test_options_that_mean_nothing_alone_are_refused(query):
    with pytest.raises(ConfigurationError):
        Options.parse(f"amqp://h?{query}")


def test_relative_paths_begin_in_the_directory_of_the_app():
    url = "amqps://host?ca_file=ca.crt&cert_file=/own.crt&key_file=keys/own.key"
    options = Options.parse(url).in_directory(Path("/srv"))
    assert (options.ca_file, options.cert_file, options.key_file) == ("/srv/ca.crt", "/own.crt", "/srv/keys/own.key")
    assert Options.parse("amqps://host").in_directory(Path("/srv")) == Options.parse("amqps://host")


def test_a_parsed_url_shows_no_secret():
    options = Options.parse("amqp://me:hunter2@h?management_url=http%3A%2F%2Fa%3Ahunter3%40h%3A15672")
    assert "hunter" not in repr(options)


# Names

_NAMES = st.text(max_size=30) | st.sampled_from(["", "q.dead", "q~1", "amq.x", "a*b", "#", "x" * 300, "\ud800", "a\nb"])


@given(st.sets(_NAMES, min_size=2, max_size=10), st.sampled_from(["", "app"]), st.integers(1, 10))
def test_different_queues_have_different_names_that_rabbitmq_takes(queues, namespace, lanes):
    names = Names(namespace, lanes)
    found = [name for queue in queues for name in (*names.queues(queue), names.dead(queue))]
    found += [names.delay, names.lost, names.last, *(names.climbed(levels + 1) for levels in range(ladder.LEVELS))]
    found += [names.rung(each.level, each.digit) for each in ladder.RUNGS]
    assert len(set(found)) == len(found)
    for name in found:
        assert 0 < len(name.encode()) <= 200
        assert name.isprintable()
        assert not name.startswith("amq.")


def test_usual_names_are_kept():
    assert Names().queues("mail.urgent") == ("mail.urgent",)
    assert Names("app").dead("mail") == "app~mail.dead"
    assert Names("", 3).queues("mail") == ("mail~~2", "mail~~1", "mail")
    assert Names("", 3).queue_of("mail", 2) == "mail~~2"


_DIGEST = sha256(b"a~b").hexdigest()


@pytest.mark.parametrize("lanes", [1, 10])
def test_names_of_namespaces_do_not_meet(lanes):
    queues = ["q", "1", "9", "a~q", "a~1", "~q", "~", "a", "a~b", _DIGEST, "a.dead", "drivetrain", "due", ""]
    found = [
        name
        for names in (Names("", lanes), Names("a", lanes), Names("drivetrain_", lanes), Names("b", lanes))
        for queue in queues
        for name in (*names.queues(queue), names.dead(queue))
    ]
    found += [
        name for names in (Names(), Names("a")) for name in (names.delay, names.climbed(1), names.lost, names.last)
    ]
    assert len(set(found)) == len(found)


def test_a_namespace_stands_before_the_names():
    assert Options.parse("amqp://h").prefix == ""
    assert Options.parse("amqp://h", "Shop-1").prefix == "Shop-1"
    assert Options.parse("amqp://h?namespace=other", "shop").prefix == "other"
    assert not Options.parse("amqp://h", "amq.x").prefix.startswith("amq.")


# Delays


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
        assert len(to) == 1, f"{key} has {len(to)} ways out of {exchange}"
        if isinstance(to[0], BindExchange):
            exchange = to[0].destination
        elif to[0].queue not in ttl:
            return to[0].queue, waited
        else:
            waited += ttl[to[0].queue]["x-message-ttl"]
            exchange = ttl[to[0].queue]["x-dead-letter-exchange"]


_LADDER = [
    *ladder.exchanges(Names(), ladder.LEVELS, {}),
    *(ladder.due_binding(Names(), queue, levels + 1) for queue in ("a.b", "b") for levels in range(ladder.LEVELS)),
    *(part for each in ladder.RUNGS for part in ladder.rung(Names(), each, {})),
]


_TICKS = st.integers(1, 2**28 - 1) | st.integers(0, 27).map(lambda power: 2**power)


@given(_TICKS)
def test_a_message_climbs_for_exactly_its_delay(ticks):
    """On the whole ladder, and on what its own sender has declared alone."""
    exchange, key = ladder.route(Names(), "a.b", ticks)
    levels = ladder.levels_for(ticks)
    own = [*ladder.exchanges(Names(), levels, {}), ladder.due_binding(Names(), "a.b", levels)]
    own += [part for each in ladder.path(ticks) for part in ladder.rung(Names(), each, {})]
    milliseconds = ticks * ladder.TICK_MILLISECONDS
    assert _wait(exchange, key, _LADDER) == _wait(exchange, key, own) == ("a.b", milliseconds)
    made = {each.name for each in own if isinstance(each, DeclareExchange)}
    above = {each.arguments.get("x-dead-letter-exchange") for each in own if isinstance(each, DeclareQueue)}
    assert above - {None} <= made
    assert sum(each.milliseconds for each in ladder.path(ticks)) == milliseconds
    assert len(ladder.path(ticks)) <= ladder.LEVELS
    assert len(key) < 100


@given(_TICKS)
def test_a_message_climbs_only_up(ticks):
    """So that whoever looks through the ladder from the bottom misses none."""
    levels = [each.level for each in ladder.path(ticks)]
    assert levels == sorted(set(levels))
    assert set(ladder.path(ticks)) <= set(ladder.RUNGS)


@given(st.floats(0.000_001, ladder.LONGEST_DELAY_SECONDS))
def test_a_delay_is_never_rounded_down(seconds):
    assert seconds * 1000 <= ladder.ticks_in(seconds) * ladder.TICK_MILLISECONDS < 2**32


def test_no_delay_is_none():
    assert ladder.ticks_in(0) == ladder.ticks_in(-5) == 0


def test_however_many_delays_there_are_there_are_as_many_queues():
    """W15: there are 162 queues at most, and none waits longer than RabbitMQ's timers can."""
    queues = [each for each in _LADDER if isinstance(each, DeclareQueue) and each.name != Names().lost]
    waits = [each.arguments["x-message-ttl"] for each in queues]
    assert len(waits) == 162
    assert max(waits) < 2**32


@pytest.mark.parametrize("query", ["", "?queue_type=quorum"])
def test_the_ladder_keeps_what_it_passes_on_whatever_the_type_of_the_queues_of_tasks(query):
    """RabbitMQ takes one of these arguments without the others, and then forgets what it passes on at once."""
    arguments = Topology(Options.parse(f"amqp://h{query}")).rung_arguments()
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"


def test_what_climbs_and_finds_no_way_is_kept_and_holds_up_nobody():
    """At the entrance it goes back to its sender instead, who hears of it."""
    exchanges = {each.name: each for each in _LADDER if isinstance(each, DeclareExchange)}
    lost = exchanges.pop(Names().lost)
    assert exchanges.pop(Names().delay).otherwise == ""
    assert {each.otherwise for each in exchanges.values()} == {lost.name}
    assert [each.queue for each in _LADDER if isinstance(each, Bind) and each.exchange == lost.name] == [Names().lost]


# Envelopes and frames

_TEXT = st.text(max_size=20) | st.sampled_from(["", "CC", "BCC", "x-death", "drivetrain", "\ud800", "x" * 5000])
_MESSAGES = st.builds(
    Message,
    id=_TEXT,
    queue=st.just("q"),
    body=st.binary(max_size=50),
    headers=st.dictionaries(_TEXT, _TEXT, max_size=4),
    priority=st.integers(0, 255),
    eta=st.none() | st.floats(allow_nan=False),
)


@given(_MESSAGES, st.integers(0, 3))
def test_a_message_is_what_it_was(message, handouts):
    opened = envelope.open_content("q", *envelope.content_header(message, handouts))
    assert (opened.message, opened.handouts) == (message, handouts)


@given(_MESSAGES, st.integers(0, 5))
def test_it_still_is_when_rabbitmq_has_added_headers(message, count):
    properties, body = envelope.content_header(message)
    known = spec.BasicProperties().decode(properties)
    known.headers |= {"x-death": [{"queue": "a", "count": 3}], "x-delivery-count": count}
    opened = envelope.open_content("q", b"".join(known.encode()), body)
    assert (opened.message, opened.returns) == (message, count)


def test_somebody_elses_message_is_read_too():
    properties = spec.BasicProperties(headers={"n": 1, "list": [1, 2], "x-death": []}, message_id="theirs", priority=3)
    opened = envelope.open_content("q", b"".join(properties.encode()), b"{}")
    assert opened.message.headers == {"n": "1", "list": "[1, 2]"}
    assert (opened.message.id, opened.message.priority, opened.message.body) == ("theirs", 3, b"{}")


@pytest.mark.parametrize("head", ["", "[]", "{", "null", '{"h": 3}', "99", '"x"', '{"n": "x"}'])
def test_a_head_of_nonsense_raises_nothing(head):
    properties = spec.BasicProperties(headers={envelope.HEADER: head})
    assert envelope.open_content("q", b"".join(properties.encode()), b"body").message.queue == "q"


@given(st.binary(max_size=60))
def test_properties_of_nonsense_raise_nothing(properties):
    assert envelope.open_content("q", properties, b"body").message.queue == "q"


@given(_MESSAGES, st.integers(20, 200))
def test_our_frames_are_those_of_pika(message, largest):
    properties, body = envelope.content_header(message)
    data = wire.publish(3, "ex", "key") + b"".join(wire.body_frames(3, properties, body, largest))
    kinds = []
    while data:
        used, found = frame.decode_frame(data)
        kinds.append(found)
        data = data[used:]
    assert kinds[0].method.routing_key == "key"
    assert kinds[0].method.mandatory
    assert kinds[1].body_size == len(body)
    assert kinds[1].properties.delivery_mode == 2
    assert b"".join(each.fragment for each in kinds[2:]) == body
    assert all(len(each.fragment) <= largest - 8 for each in kinds[2:])


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=5), st.integers(1, 40))
def test_frames_are_found_however_they_are_cut(tags, step):
    data = b"".join(wire.ack(1, tag, False) for tag in tags) + wire.heartbeat()
    frames, found = wire.Frames(), []
    for start in range(0, len(data), step):
        found += frames.feed(data[start : start + step])
    assert [decoded(payload).delivery_tag for kind, _, payload in found if kind == wire.METHOD] == tags
    assert found[-1][0] == wire.HEARTBEAT


def test_what_is_no_amqp_is_refused():
    with pytest.raises(exceptions.AMQPError):
        list(wire.Frames().feed(b"AMQP\x00\x01\x00\x00" + b"\0" * 8))
    with pytest.raises(exceptions.AMQPError):
        list(wire.Frames().feed(b"\x01\x00\x01\x00\x00\x00\x01xx" + b"\0" * 8))


# Holds


@given(st.lists(st.sets(st.integers(1, 12)), max_size=6))
def test_what_is_settled_is_what_was_claimed_and_no_more(batches):
    """A frame that says 'all up to here' never covers what somebody else holds or is about to settle."""
    holds, settled = Holds(), set()
    for tag in range(1, 13):
        holds.add(tag)
    pending = []
    for batch in batches:
        claimed = holds.claim(sorted(batch))
        assert not settled & set(claimed)
        pending.append(claimed)
        if len(pending) > 1:  # settled later, while others are claimed
            done = pending.pop(0)
            told = _told(holds.settle(1, done), settled)
            assert told == set(done)
            settled |= told


def _told(data, settled):
    frames = [decoded(payload) for _, _, payload in wire.Frames().feed(data)]
    told = set()
    for each in frames:
        told |= set(range(1, each.delivery_tag + 1)) if each.multiple else {each.delivery_tag}
    return told - settled


def test_what_was_unclaimed_is_held_again():
    holds = Holds()
    holds.add(1)
    assert holds.claim([1, 1]) == [1]
    assert not holds.holds(1)
    assert holds.claim([1]) == []
    holds.unclaim([1])
    assert holds.holds(1)


# Errors


def _classes():
    return [
        each
        for _, each in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(each, Exception) and each.__module__ == exceptions.__name__
    ]


def _made(kind):
    for arguments in ((), (1,), (404, "NOT_FOUND"), ([],), ("a", "b")):
        try:
            return kind(*arguments)
        except (TypeError, ValueError):
            continue
    raise AssertionError(f"{kind} cannot be made")


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_error_of_pika_is_one_of_ours(kind):
    """The driver catches all of its errors, and translates each."""
    error = _made(kind)
    assert isinstance(error, CLIENT_ERRORS)
    ours = translated(error, "trying")
    assert isinstance(ours, ServiceError)
    assert str(ours).startswith("trying: ")


_CODES = {
    320: ServiceUnavailable, 541: ServiceUnavailable, 504: ServiceUnavailable, 404: ServiceUnavailable,
    403: ServiceRefused, 405: ServiceRefused, 406: ServiceRefused, 506: ServiceRefused, 530: ServiceRefused,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "code"),
    list(itertools.product([exceptions.ChannelClosedByBroker, exceptions.ConnectionClosedByBroker], _CODES)),
)
def test_what_the_server_says_tells_whether_to_try_again(kind, code):
    assert type(translated(kind(code, "SAID"), "trying")) is _CODES[code]


def test_refused_passwords_lost_sockets_and_certificates():
    assert type(translated(exceptions.ProbableAuthenticationError("x"), "t")) is AuthenticationFailed
    assert type(translated(ConnectionRefusedError(111, "refused"), "t")) is ServiceUnavailable
    assert type(translated(UnicodeError("label too long"), "t")) is ServiceUnavailable  # of a host's name
    with pytest.raises(ConfigurationError, match="its host is 'aaa"):
        make_broker(f"amqp://{'a' * 70}.invalid", DriverContext())
    assert type(translated(ssl.SSLCertVerificationError("x"), "t")) is ServiceRefused
