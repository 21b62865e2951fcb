"""SQS names of queues. Ours may be any text; SQS takes 80 letters, digits, hyphens and underscores. Pure."""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from enum import StrEnum

from attrs import frozen

from drivetrain_sqs.limits import QUEUE_NAME_LENGTH

__all__ = ["LONGEST_PREFIX", "QueueNames", "Role"]

#: Up to this length a namespace is a prefix as it is. The contract hashes longer ones, and other characters.
LONGEST_PREFIX = 24
_FIFO = ".fifo"
_PLAIN = re.compile("[A-Za-z0-9_-]+")
#: Two hyphens end a prefix, three begin a hash.
_PREFIX_END, _HASH_MARK = "--", "---"
_SLUG_LENGTH = 12
#: 120 bits: two names with the same hash are not to be expected.
_HASH_LENGTH = 24


class Role(StrEnum):
    """What an SQS queue is for; the value is the end of its name."""

    #: Ready and in-flight messages, and messages that SQS itself delays.
    MAIN = ""
    #: Dead letters.
    DEAD = "-dead"
    #: Messages for a FIFO queue that are not due yet: a FIFO queue cannot delay single messages.
    LATER = "-later"


@frozen
class QueueNames:
    """The SQS names of an app's queues. No two queues share one, whatever their prefixes.

    A plain name stays readable: ``mails`` is ``<prefix>--mails``, and its dead letters are in ``<prefix>--mails-dead``.
    Any other text is ``<its plain characters>---<hash>``. That applies to a name that is illegal in SQS, that is too
    long, or that looks like a name made here.
    """

    #: The start of every name, followed by two hyphens; contains no hyphen itself. Empty: no prefix.
    prefix: str
    fifo: bool

    def of(self, queue: str, role: Role = Role.MAIN) -> str:
        """The SQS name of ``queue`` for ``role``."""
        start = f"{self.prefix}{_PREFIX_END}" if self.prefix else ""
        # A delayed message needs a delay of its own, which only standard queues have.
        ending = _FIFO if self.fifo and role is not Role.LATER else ""
        room = QUEUE_NAME_LENGTH - len(start) - max(len(each) for each in Role) - len(_FIFO)
        return f"{start}{_safe(queue, room)}{role.value}{ending}"


def _safe(queue: str, room: int) -> str:
    looks_made = _PREFIX_END in queue or queue.startswith("-") or queue.endswith(("-", *filter(None, Role)))
    if _PLAIN.fullmatch(queue) and len(queue) <= room and not looks_made:
        return queue
    digest = b32encode(hashlib.sha256(queue.encode("utf-8", "surrogatepass")).digest()).decode().lower()
    slug = re.sub("-+", "-", "".join(_PLAIN.findall(queue))).strip("-")
    short = slug[: min(_SLUG_LENGTH, room - len(_HASH_MARK) - _HASH_LENGTH)].strip("-")
    return f"{short}{_HASH_MARK}{digest[:_HASH_LENGTH]}"
