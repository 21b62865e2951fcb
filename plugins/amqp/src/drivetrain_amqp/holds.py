"""Which deliveries of a channel are not settled yet, and how to say in few frames what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from drivetrain_amqp import wire

__all__ = ["Holds"]

Frame = Callable[[int, int, bool], bytes]


class Holds:
    """Delivery tags, which grow. Additions need no lock; everything else is called with that of the channel held."""

    def __init__(self) -> None:
        #: Whether somebody is about to settle it.
        self._tags: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tag: int) -> None:
        """A delivery came."""
        self._tags[tag] = False

    def holds(self, tag: int) -> bool:
        """Whether it is not settled, nor about to be."""
        return self._tags.get(tag) is False

    def claim(self, tags: Iterable[int]) -> list[int]:
        """Those of ``tags`` that are held; they are now about to be settled, by the caller alone."""
        claimed = [tag for tag in dict.fromkeys(tags) if self.holds(tag)]
        self._tags.update(dict.fromkeys(claimed, True))
        return claimed

    def unclaim(self, tags: Iterable[int]) -> None:
        """They could not be settled, and are held as before."""
        self._tags.update({tag: False for tag in tags if tag in self._tags})

    def settle(self, channel: int, claimed: Iterable[int], frame: Frame = wire.ack) -> bytes:
        """The frames that settle these, which are held no longer.

        Up to the first delivery that is not among them one frame says all; the others need one each.
        """
        gone = set(claimed)
        last = 0
        for tag in list(self._tags):  # in one step: whoever reads may add to it
            if tag not in gone:
                break
            last = tag
        rest = sorted(tag for tag in gone if tag > last)
        for tag in gone:
            self._tags.pop(tag, None)
        together = [frame(channel, last, True)] if last else []
        return b"".join((*together, *(frame(channel, tag, False) for tag in rest)))
