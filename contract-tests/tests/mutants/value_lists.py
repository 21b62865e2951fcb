"""Stores of versioned values that break V8: prefixes that are read as patterns, and pages that miss or repeat keys."""

from __future__ import annotations

import re

from drivetrain.contract import ValuePage, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import broken, mutants_of
from mutants.value_table import Lists

# Prefixes


@broken("V8", "takes a backslash in a prefix for an escape")
class Unescapes(Lists):
    def matches(self, key, prefix):
        return key.startswith(re.sub(r"\\(.)", r"\1", prefix))


@broken("V8", "strips blanks at the end of prefixes")
class StripsPrefixes(Lists):
    def matches(self, key, prefix):
        return key.startswith(prefix.rstrip(" "))


@broken("V8", "cuts prefixes at 255 characters")
class CutsPrefixes(Lists):
    def matches(self, key, prefix):
        return key.startswith(prefix[:255])


@broken("V8", "lists nothing for an empty prefix")
class NothingForNone(Lists):
    def matches(self, key, prefix):
        return bool(prefix) and key.startswith(prefix)


@broken("V8", "leaves out the key that is the prefix")
class LeavesOutThePrefix(Lists):
    def matches(self, key, prefix):
        return key.startswith(prefix) and (not prefix or key != prefix)


@broken("V8", "takes the last letter of the Latin alphabet for the largest character")
class UpToZ(Lists):
    def matches(self, key, prefix):
        return prefix <= key <= f"{prefix}zzzz"


@broken("V8", "lists keys up to their next slash")
class UpToASlash(Lists):
    def matches(self, key, prefix):
        return key.startswith(prefix) and "/" not in key[len(prefix) :].strip("/")


@broken("V8", "leaves out the prefix of keys")
class LeavesOutPrefixes(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key.removeprefix(prefix), value) for key, value in page.values])


@broken("V8", "lists what begins with another prefix on later pages")
class ForgetsThePrefix(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        return super().list_values("" if cursor is not None else prefix, limit=limit, cursor=cursor)


# Pages


@broken("V8", "takes no notice of the limit on later pages")
class LimitsTheFirstPage(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        return super().list_values(prefix, limit=limit if cursor is None else 10**6, cursor=cursor)


@broken("V8", "holds ten values on a page at least")
class TenAtLeast(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        return super().list_values(prefix, limit=max(limit, 10), cursor=cursor)


@broken("V8", "lists no more than 1,000 values")
class AThousand(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=min(limit, 1000), cursor=cursor)
        return page if limit < 1000 else evolve(page, cursor=None)


@broken("V8", "lists as many values as there were when it began")
class CountsFirst(Lists):
    """Keeps in its cursor how many values there were on the first page."""

    def list_values(self, prefix, *, limit, cursor=None):
        left, _, last = (cursor or f"{len(self.found(prefix))} ").partition(" ")
        page = super().list_values(prefix, limit=limit, cursor=last if cursor else None)
        rest = int(left) - len(page.values)
        return evolve(page, cursor=f"{rest} {page.cursor}" if page.cursor is not None and rest > 0 else None)


@broken("V8", "takes a page with room left for the last")
class ShortPageIsTheLast(Lists):
    """Reads as many keys as it may show, and then leaves out what has another prefix."""

    def list_values(self, prefix, *, limit, cursor=None):
        found = self.found("")
        keys = sorted(key for key in found if cursor is None or key > cursor)[:limit]
        values = [(key, found[key]) for key in keys if key.startswith(prefix)]
        return ValuePage(values=values, cursor=keys[-1] if len(values) == limit else None)


@broken("V8", "lists by version, the last first, and so leaves out what is written between two pages")
class NewestFirst(Lists):
    def list_values(self, prefix, *, limit, cursor=None):
        found = sorted(self.found(prefix).items(), key=lambda item: -item[1].version)
        behind = [item for item in found if cursor is None or item[1].version < int(cursor)]
        page = behind[:limit]
        return ValuePage(values=page, cursor=str(page[-1][1].version) if len(behind) > len(page) else None)


@broken("V8", "lists by value, and so misses or repeats what changes between two pages")
class ByValue(Lists):
    def list_values(self, prefix, *, limit, cursor=None):
        found = sorted(self.found(prefix).items(), key=lambda item: (item[1].value, item[0]))
        behind = [
            item for item in found if cursor is None or (item[1].value.hex(), item[0]) > tuple(cursor.split(" ", 1))
        ]
        page = behind[:limit]
        last = f"{page[-1][1].value.hex()} {page[-1][0]}" if len(behind) > len(page) else None
        return ValuePage(values=page, cursor=last)


@broken("V8", "sorts keys as UTF-16, and compares them with its cursor as UTF-8")
class TwoOrders(Lists):
    def list_values(self, prefix, *, limit, cursor=None):
        found = self.found(prefix)
        keys = sorted(
            (key for key in found if cursor is None or key > cursor),
            key=lambda key: key.encode("utf-16-be", "surrogatepass"),
        )
        page = keys[:limit]
        more = len(keys) > len(page)
        return ValuePage(values=[(key, found[key]) for key in page], cursor=page[-1] if more else None)


@broken("V8", "goes on behind the first 40 characters of the last key of a page")
class CutsItsCursor(Lists):
    def list_values(self, prefix, *, limit, cursor=None):
        found = self.found(prefix)
        keys = sorted(key for key in found if cursor is None or key[:40] > cursor)
        page = keys[:limit]
        more = len(keys) > len(page)
        return ValuePage(values=[(key, found[key]) for key in page], cursor=page[-1][:40] if more else None)


@broken("V8", "lists keys without their values")
class ListsKeys(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key, evolve(value, value=b"")) for key, value in page.values])


MUTANTS = mutants_of(globals())
