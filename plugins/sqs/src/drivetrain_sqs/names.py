"""From our names of queues, which may be any text, to those of SQS: 80 letters, digits, hyphens and underscores."""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from enum import StrEnum

from attrs import frozen

from drivetrain_sqs.limits import QUEUE_NAME_LENGTH

__all__ = ["LONGEST_PREFIX", "Names", "Role"]

LONGEST_PREFIX = 24
_FIFO = ".fifo"
_PLAIN = re.compile("[A-Za-z0-9_-]+")
_SLUG_LENGTH = 12
#: 130 bits: nobody will see two names with the same one.
_HASH_LENGTH = 26


class Role(StrEnum):
    """What an SQS queue is for; the end of its name."""

    #: Ready, held and natively delayed messages.
    MAIN = ""
    #: Dead letters.
    DEAD = "-dead"
    #: Messages for a FIFO queue that are not due; FIFO queues have no delay for single messages.
    LATER = "-later"


@frozen
class Names:
    """Gives every queue its names, the same ones everywhere. No two queues share one.

    A plain name stays readable: ``mails`` is ``<prefix>-mails``, and its dead letters lie in ``<prefix>-mails-dead``.
    Any other text is ``<its plain signs>--<hash>``: what is not legal in SQS, too long, or could be mistaken for a name
    that was made here.
    """

    #: What the names of all queues begin with, followed by a hyphen; empty: nothing.
    prefix: str
    fifo: bool

    def of(self, queue: str, role: Role = Role.MAIN) -> str:
        """The name in SQS of what ``queue`` needs for ``role``."""
        start = f"{self.prefix}-" if self.prefix else ""
        # What waits for its time needs a delay of its own, which only standard queues have.
        ending = _FIFO if self.fifo and role is not Role.LATER else ""
        room = QUEUE_NAME_LENGTH - len(start) - max(len(each) for each in Role) - len(_FIFO)
        return f"{start}{_safe(queue, room)}{role.value}{ending}"


def _safe(queue: str, room: int) -> str:
    is_ours = "--" in queue or any(queue.endswith(role.value) for role in Role if role.value)
    if _PLAIN.fullmatch(queue) and len(queue) <= room and not is_ours:
        return queue
    digest = hashlib.sha256(queue.encode("utf-8", "surrogatepass")).digest()
    slug = "".join(_PLAIN.findall(queue)).replace("--", "-").strip("-")[:_SLUG_LENGTH]
    return f"{slug.strip('-')}--{b32encode(digest).decode()[:_HASH_LENGTH].lower()}"
