"""SQS names of queues: legal, readable where they can be, and never the same for two queues."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain_contract_tests.attack_payloads import NAMES
from drivetrain_sqs.options import Options
from drivetrain_sqs.queue_names import LONGEST_PREFIX, QueueNames, Role

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


@pytest.mark.parametrize("fifo", [False, True])
def test_names_are_legal_and_differ_for_every_queue_and_role(fifo):
    for prefix in ("", "app", "x" * LONGEST_PREFIX):
        names = QueueNames(prefix, fifo)
        made = [names.of(queue, role) for queue in {*NAMES, *TRICKY} for role in Role]
        assert len(set(made)) == len(made)
        for name in made:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", name), name


@settings(deadline=None)
@given(st.lists(texts, unique=True, max_size=8))
def test_any_texts_are_names_that_differ(queues):
    names = QueueNames("app", fifo=False)
    made = [names.of(queue, role) for queue in queues for role in Role]
    assert len(set(made)) == len(made)


def test_a_plain_name_stays_readable():
    names = QueueNames("app", fifo=True)
    assert names.of("mails") == "app--mails.fifo"
    assert names.of("mails", Role.DEAD) == "app--mails-dead.fifo"
    assert names.of("mails", Role.LATER) == "app--mails-later"
    assert QueueNames("", fifo=False).of("mails") == "mails"


@pytest.mark.parametrize("fifo", [False, True])
def test_no_two_namespaces_share_a_queue(fifo):
    namespaces = ("drivetrain", "shop", "shop_", "a", "Shop", "my-app", "x" * 100, "x" * 99 + "y")
    prefixes = [Options(namespace=namespace).prefix for namespace in namespaces]
    assert prefixes[:5] == ["", "shop", "shop_", "a", "Shop"]
    queues = {"mails", "shop-mails", "shop--mails", "-mails", "mails-", "shop-", *NAMES, *TRICKY}
    queues |= {QueueNames("", fifo).of(queue) for queue in TRICKY} | {
        QueueNames("shop", fifo).of(queue) for queue in TRICKY
    }
    made = [QueueNames(prefix, fifo).of(queue, role) for prefix in prefixes for queue in queues for role in Role]
    assert len(set(made)) == len(made)
    assert max(map(len, made)) <= 80
