"""Charts, graphs and texts of the pages. Pure: values in, markup out.

Templates have everything in `FILTERS` as filters, and everything in `GLOBALS` as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["FILTERS", "GLOBALS"]

FILTERS: Mapping[str, Callable[..., Any]] = {}
GLOBALS: Mapping[str, Callable[..., Any]] = {}
