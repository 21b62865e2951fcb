"""From our names of queues, which may be any text, to those of SQS: 80 letters, digits, hyphens and underscores."""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from enum import StrEnum

from attrs import frozen

from drivetrain_sqs.limits import QUEUE_NAME_LENGTH

__all__ = ["LONGEST_PREFIX", "Names", "Role"]

#: A prefix that is longer, or has other characters, is a name of at most 36 characters that the contract makes.
LONGEST_PREFIX = 24
_FIFO = ".fifo"
_PLAIN = re.compile("[A-Za-z0-9_-]+")
#: Two hyphens end a prefix, three set a hash apart.
_PREFIX_END, _HASH_MARK = "--", "---"
_SLUG_LENGTH = 12
#: 120 bits: nobody will see two names with the same one.
_HASH_LENGTH = 24


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
    """Gives every queue its names, the same ones everywhere. No two queues of whatever prefixes share one.

    A plain name stays readable: ``mails`` is ``<prefix>--mails``, and its dead letters lie in ``<prefix>--mails-dead``.
    Any other text is ``<its plain characters>---<hash>``: what is not legal in SQS, is too long, or could be mistaken
    for a name that was made here.
    """

    #: What the names of all queues begin with, followed by two hyphens; holds no hyphen. Empty: nothing.
    prefix: str
    fifo: bool

    def of(self, queue: str, role: Role = Role.MAIN) -> str:
        """The name in SQS of what ``queue`` needs for ``role``."""
        start = f"{self.prefix}{_PREFIX_END}" if self.prefix else ""
        # What waits for its time needs a delay of its own, which only standard queues have.
        ending = _FIFO if self.fifo and role is not Role.LATER else ""
        room = QUEUE_NAME_LENGTH - len(start) - max(len(each) for each in Role) - len(_FIFO)
        return f"{start}{_safe(queue, room)}{role.value}{ending}"


def _safe(queue: str, room: int) -> str:
    is_ours = _PREFIX_END in queue or queue.startswith("-") or queue.endswith(("-", *filter(None, Role)))
    if _PLAIN.fullmatch(queue) and len(queue) <= room and not is_ours:
        return queue
    digest = b32encode(hashlib.sha256(queue.encode("utf-8", "surrogatepass")).digest()).decode().lower()
    slug = re.sub("-+", "-", "".join(_PLAIN.findall(queue))).strip("-")
    short = slug[: min(_SLUG_LENGTH, room - len(_HASH_MARK) - _HASH_LENGTH)].strip("-")
    return f"{short}{_HASH_MARK}{digest[:_HASH_LENGTH]}"
