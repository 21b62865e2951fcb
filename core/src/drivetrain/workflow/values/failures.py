"""The codec of failures. A failure can always be sent, whatever the arguments of its task are."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from drivetrain.contract import Failure, Plain
from drivetrain.workflow.values.codec import Codec, Compile
from drivetrain.workflow.values.depth import is_nested_too_deep
from drivetrain.workflow.values.errors import ValueMismatch
from drivetrain.workflow.values.records import record_codec
from drivetrain.workflow.values.scalars import Travels

__all__ = ["failure_codec"]


def failure_codec(codec: Compile, travels: Travels) -> Codec:
    """The codec of `Failure`. It leaves out arguments that are nested too deeply."""
    record = record_codec(Failure, codec, travels, tag="failure")

    def encode(value: Any) -> Plain:
        if type(value) is not Failure:
            return record.encode(value)
        try:
            plain = record.encode(value)
        except (ValueMismatch, RecursionError):
            plain = None
        if plain is None or is_nested_too_deep(plain):
            return record.encode(evolve(value, args=(), kwargs={}))
        return plain

    return Codec(record.expected, encode, record.decode, record.kinds)
