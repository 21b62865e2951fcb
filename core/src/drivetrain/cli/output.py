"""What commands print: aligned tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from enum import Enum
from math import isfinite
from pprint import pformat
from typing import Any

import attrs
import click

__all__ = [
    "echo_json",
    "echo_table",
    "json_option",
    "one_line",
    "printable",
    "seconds_text",
    "shown",
    "shown_in_lines",
    "timestamp",
]

_GAP = "  "
_LONGEST_CELL = 120

#: ``--json``, as every command that prints data has it.
json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def echo_json(document: Any) -> None:
    """Print a document."""
    with _any_number_of_digits():
        text = json.dumps(_jsonable(document), indent=2)
    click.echo(text)


def echo_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns, numbers to the right. A column that is empty in every row is left out."""
    rows = list(rows)
    columns = [(header, [row[i] for row in rows]) for i, header in enumerate(headers)]
    shown = [_column(header, cells) for header, cells in columns if not rows or any(cell != "" for cell in cells)]
    for line in zip(*shown, strict=True):
        click.echo(_GAP.join(line).rstrip())


def _column(header: str, cells: Sequence[object]) -> list[str]:
    texts = [header, *(one_line("-" if cell is None else str(cell)) for cell in cells)]
    width = max(map(len, texts))
    numbers = bool(cells) and all(cell is None or type(cell) is int for cell in cells)
    return [text.rjust(width) if numbers else text.ljust(width) for text in texts]


def shown(value: object) -> str:
    """``repr`` of any value, also of an int that Python would refuse to write."""
    with _any_number_of_digits():
        return repr(value)


def shown_in_lines(value: object) -> str:
    """The same over several lines, where it is long."""
    with _any_number_of_digits():
        return pformat(value, width=100)


@contextmanager
def _any_number_of_digits() -> Iterator[None]:
    """Lift Python's limit on the digits of an int. It holds for the whole process, so it is restored at the end."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def one_line(text: str) -> str:
    """``text`` in one line of bounded length, `printable`."""
    flat = printable(" ".join(text.split()))
    return textwrap.shorten(flat, _LONGEST_CELL, placeholder=" …") if len(flat) > _LONGEST_CELL else flat


def printable(text: str) -> str:
    """``text`` with control characters escaped, so that a terminal does not execute them."""
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1] for character in text
    )


def timestamp(moment: datetime | float | None) -> str | None:
    """A time as ``2026-11-22T15:00:00.123Z``."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def seconds_text(seconds: float | None) -> str:
    """A duration in three digits or fewer; empty for None."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 999.5:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 59_970 else f"{seconds / 3600:.3g} h"


def _jsonable(value: Any) -> Any:
    if isinstance(value, Enum):
        return _jsonable(value.value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_key(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in value]
    return _jsonable_object(value)


def _jsonable_object(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    names = _field_names(value)
    return str(value) if names is None else {name: _jsonable(getattr(value, name)) for name in names}


def _field_names(value: Any) -> Iterable[str] | None:
    if attrs.has(type(value)):
        return [attribute.name for attribute in attrs.fields(type(value))]
    return getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", None)


def _key(key: Any) -> str:
    plain = _jsonable(key)
    return plain if isinstance(plain, str) else str(plain)
