"""The names of queues and exchanges."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain_amqp.delay_queues import DELAY_QUEUES, LEVELS
from drivetrain_amqp.options import Options
from drivetrain_amqp.topology import Names

_NAMES = st.text(max_size=30) | st.sampled_from(["", "q.dead", "q~1", "amq.x", "a*b", "#", "x" * 300, "\ud800", "a\nb"])


@given(st.sets(_NAMES, min_size=2, max_size=10), st.sampled_from(["", "app"]), st.integers(1, 10))
def test_different_queues_have_different_names_that_rabbitmq_takes(queues, namespace, lanes):
    names = Names(namespace, lanes)
    found = [name for queue in queues for name in (*names.queues(queue), names.dead(queue))]
    found += [
        names.delay_entrance,
        names.lost,
        names.last,
        *(names.delay_exchange(levels + 1) for levels in range(LEVELS)),
    ]
    found += [names.delay_queue(each.level, each.digit) for each in DELAY_QUEUES]
    assert len(set(found)) == len(found)
    for name in found:
        assert 0 < len(name.encode()) <= 200
        assert name.isprintable()
        assert not name.startswith("amq.")


def test_plain_names_stay_as_they_are():
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
        name
        for names in (Names(), Names("a"))
        for name in (names.delay_entrance, names.delay_exchange(1), names.lost, names.last)
    ]
    assert len(set(found)) == len(found)


def test_a_namespace_stands_before_the_names():
    assert Options.parse("amqp://h").service_namespace == ""
    assert Options.parse("amqp://h", "Shop-1").service_namespace == "Shop-1"
    assert Options.parse("amqp://h?namespace=other", "shop").service_namespace == "other"
    assert not Options.parse("amqp://h", "amq.x").service_namespace.startswith("amq.")
