"""The names of keys.

What belongs together has a common hash tag, the part in braces, so that a cluster keeps it in one slot. Whatever a name
holds, what follows the last brace tells what a key is of: no two are alike, for no suffix holds a brace.
"""

from __future__ import annotations

from attrs import Factory, field, frozen

__all__ = ["BESIDE_LOCK", "BESIDE_QUEUE", "BESIDE_TASK", "Keys"]

#: What the keys of a queue, those beside a task, and those beside a lock end with.
BESIDE_QUEUE = (
    *(b":ready:%d" % level for level in range(10)),
    *(b":messages", b":held", b":lapsed", b":delayed", b":dead", b":reasons", b":sequence", b":waiting"),
)
BESIDE_TASK = (b":group", b":waiting")
BESIDE_LOCK = (b":last",)


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


@frozen
class Keys:
    """The keys of one namespace.

    Args:
        prefix: what all of them begin with; holds no brace.
    """

    prefix: str
    _start: bytes = field(init=False, default=Factory(lambda self: self.prefix.encode() + b":{", takes_self=True))

    @property
    def queues(self) -> bytes:
        """A set: the names of all queues that were ever published to."""
        return self.prefix.encode() + b":queues"

    def queue(self, name: str) -> bytes:
        """What the keys of a queue begin with."""
        return self._start + b"q:" + _encode(name) + b"}"

    def task(self, task_id: str) -> bytes:
        """The record of a task. Its group and those who wait for it are beside it."""
        return self._start + b"t:" + _encode(task_id) + b"}"

    def body(self, key: str) -> bytes:
        """A body."""
        return self._start + b"b:" + _encode(key) + b"}"

    def lock(self, name: str) -> bytes:
        """A lock."""
        return self._start + b"l:" + _encode(name) + b"}"

    def pattern(self, kind: str) -> bytes:
        """What SCAN looks for to find the keys of a kind. The prefix holds nothing that a pattern reads otherwise."""
        return self._start + kind.encode() + b":*"

    def name_of(self, key: bytes) -> str:
        """The name in a key without a suffix."""
        return key[len(self._start) + 2 : -1].decode("utf-8", "surrogatepass")
