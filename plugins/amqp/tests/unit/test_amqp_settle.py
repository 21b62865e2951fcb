"""Unacknowledged deliveries, and the frames that settle them."""

from hypothesis import given
from hypothesis import strategies as st

from drivetrain_amqp.frames import FrameSplitter, decode_method
from drivetrain_amqp.settle import Unacked


@given(st.lists(st.sets(st.integers(1, 12)), max_size=6))
def test_what_is_settled_is_what_was_claimed_and_no_more(batches):
    """A frame that says 'all up to here' never covers what somebody else holds or is about to settle."""
    unacked, settled = Unacked(), set()
    for tag in range(1, 13):
        unacked.add(tag)
    pending = []
    for batch in batches:
        claimed = unacked.claim(sorted(batch))
        assert not settled & set(claimed)
        pending.append(claimed)
        if len(pending) > 1:  # settled later, while others are claimed
            done = pending.pop(0)
            told = _told(unacked.settle(1, done), settled)
            assert told == set(done)
            settled |= told


def _told(data, settled):
    frames = [decode_method(payload) for _, _, payload in FrameSplitter().feed(data)]
    told = set()
    for each in frames:
        told |= set(range(1, each.delivery_tag + 1)) if each.multiple else {each.delivery_tag}
    return told - settled


def test_what_was_unclaimed_is_held_again():
    unacked = Unacked()
    unacked.add(1)
    assert unacked.claim([1, 1]) == [1]
    assert not unacked.holds(1)
    assert unacked.claim([1]) == []
    unacked.unclaim([1])
    assert unacked.holds(1)
