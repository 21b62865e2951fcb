"""Unacknowledged deliveries, and the frames that settle them."""

from hypothesis import given
from hypothesis import strategies as st

from drivetrain_amqp.protocol.frames import FrameSplitter, decode_method
from drivetrain_amqp.settle import Unacked


@given(st.lists(st.sets(st.integers(1, 12)), max_size=6))
def test_frames_settle_exactly_the_claimed_deliveries(batches):
    """A frame for all tags up to one never covers a tag that is unsettled or that another caller has claimed."""
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
            covered = _covered(unacked.settle(1, done), settled)
            assert covered == set(done)
            settled |= covered


def _covered(data, settled):
    frames = [decode_method(payload) for _, _, payload in FrameSplitter().feed(data)]
    covered = set()
    for each in frames:
        covered |= set(range(1, each.delivery_tag + 1)) if each.multiple else {each.delivery_tag}
    return covered - settled


def test_an_unclaimed_tag_can_be_claimed_again():
    unacked = Unacked()
    unacked.add(1)
    assert unacked.claim([1, 1]) == [1]
    assert not unacked.holds(1)
    assert unacked.claim([1]) == []
    unacked.unclaim([1])
    assert unacked.holds(1)
