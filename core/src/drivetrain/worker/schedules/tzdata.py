"""The version of the time zone database in this process."""

from __future__ import annotations

import zoneinfo
from functools import cache
from importlib import import_module
from pathlib import Path

__all__ = ["tzdata_version"]


@cache
def tzdata_version() -> str:
    """The version, like ``2025b``; empty: unknown. `zoneinfo` prefers the system's files to the package tzdata."""
    for directory in zoneinfo.TZPATH:
        path = Path(directory)
        if not path.is_dir():
            continue
        for name, mark in (("tzdata.zi", "# version "), ("+VERSION", "")):
            try:
                with (path / name).open(encoding="utf-8") as file:
                    first = file.readline().strip()
            except (OSError, UnicodeDecodeError):
                continue
            if first.startswith(mark):
                return first.removeprefix(mark)
        return ""
    try:
        return str(import_module("tzdata").IANA_VERSION)
    except ImportError:
        return ""
