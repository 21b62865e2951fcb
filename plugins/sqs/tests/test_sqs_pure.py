"""The parts of the driver that ask nobody: names, envelopes, batches, holds, URLs."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.contract import MESSAGE_GROUP_HEADER, ConfigurationError, Message
from drivetrain_contract_tests.brokers.attack_payloads import NAMES
from drivetrain_sqs.limits import BATCH_BYTES, LONGEST_HOLD_SECONDS
from drivetrain_sqs.names import LONGEST_PREFIX, Names, Role
from drivetrain_sqs.options import Options
from drivetrain_sqs.packing import by_number, by_size
from drivetrain_sqs.receipts import visibility
from drivetrain_sqs.sending import _group
from drivetrain_sqs.wire import Death, Envelope, dump, load, size_of

patient = settings(deadline=None)

#: What SQS takes in a body or a text attribute, by its documentation.
LEGAL = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
TRICKY = (
    "q-dead",
    "q-later",
    "a--b",
    "q",
    "Q",
    "-",
    "--",
    "x--aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "x---aaaaaaaaaaaaaaaaaaaaaaaa",
    "",
)

texts = st.text(st.characters(exclude_categories=()), max_size=30)
messages = st.builds(
    Message,
    id=texts,
    queue=st.just("q"),
    body=st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    headers=st.dictionaries(texts, texts, max_size=4),
    priority=st.integers(0, 9),
    eta=st.none() | st.floats(allow_nan=False),
)
envelopes = st.builds(
    Envelope,
    message=messages,
    handed_out=st.integers(0, 9),
    replayed=st.booleans(),
    death=st.none() | st.builds(Death, texts, st.floats(0, 1e10), st.just("app-q")),
)


def received(entry):
    return {"Body": entry["MessageBody"], "MessageAttributes": entry["MessageAttributes"], "MessageId": "id"}


# Names


@pytest.mark.parametrize("fifo", [False, True])
def test_names_are_legal_and_differ_for_every_queue_and_role(fifo):
    for prefix in ("", "app", "x" * LONGEST_PREFIX):
        names = Names(prefix, fifo)
        made = [names.of(queue, role) for queue in {*NAMES, *TRICKY} for role in Role]
        assert len(set(made)) == len(made)
        for name in made:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", name), name


@patient
@given(st.lists(texts, unique=True, max_size=8))
def test_any_texts_are_names_that_differ(queues):
    names = Names("app", fifo=False)
    made = [names.of(queue, role) for queue in queues for role in Role]
    assert len(set(made)) == len(made)


def test_a_plain_name_stays_readable():
    names = Names("app", fifo=True)
    assert names.of("mails") == "app--mails.fifo"
    assert names.of("mails", Role.DEAD) == "app--mails-dead.fifo"
    assert names.of("mails", Role.LATER) == "app--mails-later"
    assert Names("", fifo=False).of("mails") == "mails"


@pytest.mark.parametrize("fifo", [False, True])
def test_no_two_namespaces_share_a_queue(fifo):
    namespaces = ("drivetrain", "shop", "shop_", "a", "Shop", "my-app", "x" * 100, "x" * 99 + "y")
    prefixes = [Options(namespace=namespace).prefix for namespace in namespaces]
    assert prefixes[:5] == ["", "shop", "shop_", "a", "Shop"]
    queues = {"mails", "shop-mails", "shop--mails", "-mails", "mails-", "shop-", *NAMES, *TRICKY}
    queues |= {Names("", fifo).of(queue) for queue in TRICKY} | {Names("shop", fifo).of(queue) for queue in TRICKY}
    made = [Names(prefix, fifo).of(queue, role) for prefix in prefixes for queue in queues for role in Role]
    assert len(set(made)) == len(made)
    assert max(map(len, made)) <= 80


# Envelopes


@patient
@given(envelopes)
def test_any_envelope_arrives_as_it_was_and_is_legal(envelope):
    entry = dump(envelope)
    assert LEGAL.fullmatch(entry["MessageBody"])
    for each in entry["MessageAttributes"].values():
        assert "BinaryValue" in each or LEGAL.fullmatch(each["StringValue"])
        assert each.get("BinaryValue") != b""
    assert load(received(entry), "q") == envelope


def test_a_body_that_is_text_can_be_read_in_the_console():
    entry = dump(Envelope(message=Message(id="a", queue="q", body='{"task": "größe"}'.encode())))
    assert entry["MessageBody"] == '{"task": "größe"}'
    assert list(entry["MessageAttributes"]) == ["drivetrain"]


def test_sizes_are_counted_as_aws_counts():
    entry = dump(Envelope(message=Message(id="a", queue="q", body=b"\0\xff")))
    (text, binary) = (entry["MessageAttributes"][name] for name in ("drivetrain", "drivetrain-body"))
    named = len("drivetrain") + len("String") + len("drivetrain-body") + len("Binary")
    assert size_of(entry) == len("(binary)") + named + len(text["StringValue"]) + len(binary["BinaryValue"])
    assert size_of(dump(Envelope(message=Message(id="a", queue="q", body="ü".encode())))) == size_of(
        dump(Envelope(message=Message(id="a", queue="q", body=b"ue")))
    )


@pytest.mark.parametrize(
    "attributes", [None, {}, {"drivetrain": {"StringValue": "{"}}, {"drivetrain": {"StringValue": "[]"}}]
)
def test_what_somebody_else_has_sent_is_all_body(attributes):
    envelope = load({"Body": "hello", "MessageId": "id", "MessageAttributes": attributes}, "q")
    assert (envelope.message.id, envelope.message.body, dict(envelope.message.headers)) == ("id", b"hello", {})


# Batches


@patient
@given(st.lists(st.integers(1, 400_000), max_size=40))
def test_batches_fit_and_keep_the_order(sizes):
    entries = [{"MessageBody": "x" * size} for size in sizes]
    batches = list(by_size(entries))
    assert [entry for batch in batches for entry in batch] == entries
    assert all(1 <= len(batch) <= 10 and sum(map(size_of, batch)) <= BATCH_BYTES for batch in batches)
    for one, other in pairwise(batches):
        assert len(one) == 10 or sum(map(size_of, one)) + size_of(other[0]) > BATCH_BYTES, "it could be fuller"


def test_batches_by_number():
    assert [len(batch) for batch in by_number(range(23))] == [10, 10, 3]


# Groups


def test_groups_are_legal_and_differ():
    named = [
        Message(id="m", queue="q", body=b"", headers={MESSAGE_GROUP_HEADER: name})
        for name in (*NAMES, "m-x", "h-x", "")
    ]
    alone = [Message(id=name, queue="q", body=b"") for name in (*NAMES, "x")]
    groups = [_group(each, f"later-{number}") for number, each in enumerate((*named, *alone))]
    assert len(set(groups)) == len(groups)
    assert all(re.fullmatch(r"[\x21-\x7e]{1,128}", group) for group in groups)
    assert _group(named[0], "x") == NAMES[0]
    assert _group(named[10], "x") == _group(named[10], "y")


# Holds


@patient
@given(st.floats(0, 1e6) | st.just(float("inf")), st.floats(0, 1e6))
def test_a_hold_is_never_shorter_than_asked_but_for_twelve_hours(hold, held):
    seconds = visibility(hold, held)
    assert 0 <= seconds <= LONGEST_HOLD_SECONDS
    assert seconds + held <= max(LONGEST_HOLD_SECONDS, held)
    assert seconds > hold or seconds + held >= LONGEST_HOLD_SECONDS - 1


# URLs


def test_urls():
    options = Options.parse(
        "sqs://eu-central-1?namespace=app&create=true&fifo=true&account=123456789012&max_receive_count=5"
    )
    assert (options.endpoint, options.region, options.prefix, options.account) == (
        "",
        "eu-central-1",
        "app",
        "123456789012",
    )
    assert (options.create, options.fifo, options.max_receive_count) == (True, True, 5)
    assert Options.parse("sqs://") == Options()
    local = Options.parse("sqs+http://key:s%2Fecret@127.0.0.1:4566?namespace=app&region=us-east-1")
    assert (local.endpoint, local.credentials, local.region) == (
        "http://127.0.0.1:4566",
        ("key", "s/ecret"),
        "us-east-1",
    )
    assert "ecret" not in repr(local)


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("sqs://key:secret@eu-central-1", ["holds credentials"]),
        ("sqs://127.0.0.1:4566", ["stands a region"]),
        ("sqs://eu-central-1?region=us-east-1", ["two regions"]),
        ("sqs://eu-central-1/app", ["?namespace="]),
        ("sqs://eu-central-1?namespace=", ["namespace is ''"]),
        ("sqs://eu-central-1?create=yes&fife=true", ["use true or false", "did you mean 'fifo'?"]),
        (
            "sqs://eu-central-1?account=1&calls_in_flight=0&message_bytes=1",
            ["12 digits", "calls_in_flight is", "message_bytes is"],
        ),
        ("sqs+http://", ["names no host"]),
        ("sqs+http://key@host", ["key:secret@host"]),
        ("sqs+http://one,two", ["several endpoints"]),
        ("sqs+http://key:secret@host:port", ["is 'port'"]),
        ("sqs+http://key:secret@host:0", ["is '0'"]),
        ("sqs+http://key:secret@host:65536", ["is '65536'"]),
        ("sqs://eu-central-1#x", ["holds a #"]),
    ],
)
def test_every_fault_of_a_url_is_named_and_no_secret(url, faults):
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(url)
    assert len(caught.value.faults) == len(faults)
    for fault, told in zip(sorted(faults), sorted(caught.value.faults), strict=False):
        assert fault in "\n".join(caught.value.faults), told
    assert "secret@" not in str(caught.value).replace("key:secret@host", "")
