"""How long a message that cannot be run here is offered to others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.worker.version_mismatch import next_offer_seconds


def all_offers(limit_seconds):
    offers = []
    while (delay := next_offer_seconds(len(offers), limit_seconds)) is not None:
        offers.append(delay)
    return offers


@given(st.floats(0, 5000))
def test_the_delays_of_all_offers_add_up_to_the_limit(limit_seconds):
    assert sum(all_offers(limit_seconds)) == pytest.approx(limit_seconds)


def test_delays_grow_from_a_tenth_of_a_second_to_ten_seconds_and_are_few():
    offers = all_offers(240)
    assert offers[:2] == [0.1, 0.125]
    assert offers[:-1] == sorted(offers[:-1])
    assert max(offers) == 10
    assert len(offers) == 41


def test_a_limit_of_zero_means_no_offer():
    assert next_offer_seconds(0, 0.0) is None


def test_a_message_that_was_offered_very_often_is_offered_no_more():
    assert next_offer_seconds(10**5, 240) is None
