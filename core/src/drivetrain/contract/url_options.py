"""The options of a driver's URL: read by readers, all faults named at once. Pure.

A reader takes the text of an option and gives its value, or raises ValueError with the end of a sentence that begins
with the option's name: ``is '70'; use a whole number from 1 to 64``.
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

_TRUTH = {"true": True, "false": False}


def read_options(options: Mapping[str, str], readers: Mapping[str, OptionReader]) -> tuple[dict[str, Any], list[str]]:
    """Read the options of a URL.

    Args:
        options: their texts by name, as `DriverUrl.options` has them.
        readers: the reader of each option that there is, by its name.

    Returns:
        The values of the options that are known and right, by name; and a sentence for each fault.
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
    """The fault of an option that there is not, with the one that was probably meant, or with all that there are."""
    if not known:
        return f"there is no option {name!r}; this URL takes none"
    near = get_close_matches(name, known, 1)
    return f"there is no option {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}")


def choice_option(*choices: str) -> Callable[[str], str]:
    """A reader of a text that is one of a few."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is {text!r}; use {' or '.join(choices)}")
        return text

    return read


def boolean_option(text: str) -> bool:
    """Read ``true`` or ``false``; raises ValueError for any other text."""
    if text not in _TRUTH:
        raise ValueError(f"is {text!r}; use true or false")
    return _TRUTH[text]


def whole_number_option(lowest: int, highest: int) -> Callable[[str], int]:
    """A reader of a whole number between two others, these included."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"is {text!r}; use a whole number from {lowest} to {highest}")
        return int(text)

    return read


def seconds_option(lowest: float, highest: float) -> Callable[[str], float]:
    """A reader of a number of seconds between two others, these included."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not lowest <= number <= highest:
            raise ValueError(f"is {text!r}; use a number of seconds from {lowest:g} to {highest:g}")
        return number

    return read
