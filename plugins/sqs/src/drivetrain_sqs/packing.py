"""Batches that SQS takes: at most ten entries, and so many bytes together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from drivetrain_sqs.limits import BATCH_BYTES, BATCH_ENTRIES
from drivetrain_sqs.wire import size_of

__all__ = ["by_number", "by_size"]

T = TypeVar("T")


def by_number(items: Iterable[T]) -> Iterator[list[T]]:
    """Batches of ten; the last may be smaller."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH_ENTRIES)):
        yield batch


def by_size(entries: Sequence[dict[str, Any]], limit: int = BATCH_BYTES) -> Iterator[list[dict[str, Any]]]:
    """Batches of at most ten entries and ``limit`` bytes, in order; each entry alone must fit."""
    batch: list[dict[str, Any]] = []
    room = limit
    for entry in entries:
        size = size_of(entry)
        if batch and (len(batch) == BATCH_ENTRIES or size > room):
            yield batch
            batch, room = [], limit
        batch.append(entry)
        room -= size
    if batch:
        yield batch
