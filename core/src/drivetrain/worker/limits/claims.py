"""Claims of unique tasks: which task holds a key. A claim names a task, and lasts as long as the record of that task.

So a claim is given up in the same step in which its task ends, however it ends, and nothing that dies leaves a claim.
"""

from __future__ import annotations

from urllib.parse import quote as _quote
from urllib.parse import unquote

from msgspec import Struct, to_builtins

from drivetrain.contract import Plain, SerializationError, State, TaskRecord
from drivetrain.worker.payloads import Payloads

__all__ = [
    "CLAIM_PREFIX",
    "Claim",
    "claim_key",
    "decode_claim",
    "encode_claim",
    "in_doubt",
    "is_over",
    "split_claim_key",
]

#: The keys of claims begin with it; the name of the task and the unique key follow.
CLAIM_PREFIX = "unique/"
#: How long a task may take from its claim to its record, in seconds.
_SENDING_SECONDS = 15.0
_NOT_STARTED = frozenset({State.PENDING, State.RECEIVED})


class Claim(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored under a unique key.

    Attributes:
        task_id: the id of the task that holds the key.
        since: when it claimed the key, in Unix seconds.
        until: until when it holds the key: ``started``, ``finished``, or ``time``: until the value ends.
        due: for a task that can be rescheduled: not before this time, in Unix seconds; None: at once.
        args: its latest arguments, plain; None: those in its message.
        kwargs: see ``args``.
        closed: whether it is about to start, so that it cannot be rescheduled any more.
        settled: for a closed claim: the version of the claim with the arguments that it starts with; 0: none was.
    """

    task_id: str
    since: float
    until: str
    due: float | None = None
    args: list[Plain] | None = None
    kwargs: dict[str, Plain] | None = None
    closed: bool = False
    settled: int = 0


def claim_key(task: str, key: str) -> str:
    """The key of the value for a unique key of a task."""
    return f"{CLAIM_PREFIX}{_quote(task, safe='')}/{key}"


def split_claim_key(key: str) -> tuple[str, str]:
    """The name of the task, and the unique key, of a key without the prefix."""
    task, _, unique = key.partition("/")
    return unquote(task), unique


def encode_claim(claim: Claim, payloads: Payloads) -> bytes:
    """The claim as bytes. Arguments are plain values, so it takes the serializer of the app."""
    return payloads.dump(to_builtins(claim, builtin_types=(bytes, bytearray)))


def decode_claim(value: bytes, payloads: Payloads) -> Claim | None:
    """The claim of `encode_claim`; None: it cannot be read."""
    try:
        plain = payloads.load(value)
        if isinstance(plain, dict):
            return Claim(**{name: one for name, one in plain.items() if name in Claim.__struct_fields__})
    except (SerializationError, TypeError):
        pass  # another version of drivetrain, or another serializer, has written it
    return None


def is_over(claim: Claim, record: TaskRecord | None) -> bool:
    """Whether a claim does not hold any more. Pure.

    Args:
        claim: the claim.
        record: the record of its task; None: there is none.
    """
    if claim.until == "time":
        return False
    if record is None:
        return True
    if claim.until == "started":
        return record.state not in _NOT_STARTED
    return record.state.terminal


def in_doubt(claim: Claim, record: TaskRecord | None, now: float) -> bool:
    """Whether it will show in a moment if a claim holds: its task is being sent, or is about to start. Pure.

    Args:
        claim: the claim.
        record: the record of its task; None: there is none.
        now: Unix seconds.
    """
    if claim.until == "time" or now - claim.since > _SENDING_SECONDS:
        return False
    return record is None or (claim.closed and record.state in _NOT_STARTED)
