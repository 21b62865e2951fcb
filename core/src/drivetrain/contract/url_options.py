"""The options of a driver's URL, and all their faults at once. Pure.

A reader takes the text of an option and returns its value. For a wrong text it raises a ValueError with the rest of a
sentence that begins with the option's name: ``is '70'; use a whole number from 1 to 64``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

__all__ = [
    "OptionReader",
    "boolean_option",
    "choice_option",
    "read_options",
    "seconds_option",
    "unknown_option",
    "whole_number_option",
]

OptionReader = Callable[[str], Any]

_BOOLEANS = {"true": True, "false": False}


def read_options(options: Mapping[str, str], readers: Mapping[str, OptionReader]) -> tuple[dict[str, Any], list[str]]:
    """Read the options of a URL.

    Args:
        options: the texts of the options by name, as in `DriverUrl.options`.
        readers: the reader of each known option by its name.

    Returns:
        The values of the options without a fault, by name; and a sentence for each fault.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, text in options.items():
        if name not in readers:
            faults.append(unknown_option(name, readers))
            continue
        try:
            values[name] = readers[name](text)
        except ValueError as error:
            faults.append(f"{name} {error}")
    return values, faults


def unknown_option(name: str, known: Mapping[str, object]) -> str:
    """The fault of an unknown option: it names the option that was probably meant, or all known ones."""
    if not known:
        return f"there is no option {name!r}; this URL takes none"
    near = get_close_matches(name, known, 1)
    return f"there is no option {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}")


def choice_option(*choices: str) -> Callable[[str], str]:
    """A reader of a text that must be one of ``choices``."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is {text!r}; use {' or '.join(choices)}")
        return text

    return read


def boolean_option(text: str) -> bool:
    """Read ``true`` or ``false``; raises ValueError for any other text."""
    if text not in _BOOLEANS:
        raise ValueError(f"is {text!r}; use true or false")
    return _BOOLEANS[text]


def whole_number_option(lowest: int, highest: int) -> Callable[[str], int]:
    """A reader of a whole number from ``lowest`` to ``highest``."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"is {text!r}; use a whole number from {lowest} to {highest}")
        return int(text)

    return read


def seconds_option(lowest: float, highest: float) -> Callable[[str], float]:
    """A reader of a number of seconds from ``lowest`` to ``highest``."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not lowest <= number <= highest:
            raise ValueError(f"is {text!r}; use a number of seconds from {lowest:g} to {highest:g}")
        return number

    return read
