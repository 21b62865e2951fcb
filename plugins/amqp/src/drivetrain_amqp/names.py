"""From the names of queues, which may be any text, to those of RabbitMQ. Pure.

RabbitMQ takes up to 255 bytes of UTF-8, drops line breaks, and keeps what begins with ``amq.`` for itself. A name
that it would not take as it is, or that could be mistaken for one of ours, is shown by its beginning and a hash of all.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256

from attrs import frozen

__all__ = ["Names"]

_LONGEST_BYTES = 100
_SHOWN_BYTES = 40
#: One ``~`` ends a namespace, two set our own parts of a name apart; the others have a meaning in topic exchanges.
_SPECIAL = re.compile(r"[~*#]|\.dead\Z")
_TOKEN_SIGNS = 32
#: Of the second kind: RabbitMQ refuses a queue that is there with other arguments, as those of the first version are.
_LADDER = "drivetrain~~delay2"


@frozen
class Names:
    """The names of one app's queues and exchanges."""

    #: Sets apps on one virtual host apart; holds no ``~``. Empty: that of apps that name none.
    namespace: str = ""
    #: How many queues a queue has, by priority; 1: one for all.
    lanes: int = 1

    @property
    def _base(self) -> str:
        return f"{self.namespace}~" if self.namespace else ""

    def queues(self, queue: str) -> tuple[str, ...]:
        """The queues that hold the messages of ``queue``, the highest priority first."""
        return _queues(self._base, queue, self.lanes)

    def queue_of(self, queue: str, priority: int) -> str:
        """The queue for messages of this priority."""
        lanes = self.queues(queue)
        return lanes[0] if self.lanes == 1 else lanes[self.lanes - 1 - max(0, min(priority, self.lanes - 1))]

    def dead(self, queue: str) -> str:
        """The queue of the dead letters of ``queue``."""
        return f"{self._base}{_plain(queue)}.dead"

    @property
    def delay(self) -> str:
        """The exchange by which messages enter the ladder of delays."""
        return f"{self._base}{_LADDER}"

    def climbed(self, levels: int) -> str:
        """The exchange for those that have waited for the digits of so many levels of the ladder."""
        return f"{self._base}{_LADDER}.{levels}"

    def rung(self, level: int, digit: int) -> str:
        """The queue of a digit at a level of that ladder."""
        return f"{self._base}{_LADDER}.{level}.{digit:02}"

    @property
    def lost(self) -> str:
        """The exchange and the queue of messages that have waited and that no queue takes."""
        return f"{self._base}drivetrain~~lost"

    @property
    def last(self) -> str:
        """The queue that is made, and deleted, after those that are to last."""
        return f"{self._base}drivetrain~~last"

    def lock(self, what: str) -> str:
        """The queue whose owner alone looks through ``what``."""
        return f"{self._base}drivetrain~~lock.{token(what)}"


def token(name: str) -> str:
    """A word that stands for the name of a queue in a routing key: short, and without the signs of topics."""
    return sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_TOKEN_SIGNS]


@lru_cache(4096)
def _queues(base: str, queue: str, lanes: int) -> tuple[str, ...]:
    plain = f"{base}{_plain(queue)}"
    return (plain,) if lanes == 1 else (*(f"{plain}~~{level:x}" for level in range(lanes - 1, 0, -1)), plain)


@lru_cache(4096)
def _plain(queue: str) -> str:
    shown = "".join(sign for sign in queue if sign.isprintable())  # which leaves lone surrogates out too
    carried = shown == queue and 0 < len(queue.encode()) <= _LONGEST_BYTES
    if carried and not queue.startswith("amq.") and not _SPECIAL.search(queue):
        return queue
    digest = sha256(queue.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_beginning(shown)}~~{digest}"


def _beginning(shown: str) -> str:
    beginning = shown[:_SHOWN_BYTES].encode()[:_SHOWN_BYTES].decode(errors="ignore")
    return _SPECIAL.sub("_", beginning).replace("amq.", "amq_")
