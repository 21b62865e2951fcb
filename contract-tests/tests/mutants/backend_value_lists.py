"""Backends that break V8 and V9: lists, keys and bytes of versioned values."""

from __future__ import annotations

import re
from binascii import crc_hqx
from fnmatch import fnmatchcase
from unicodedata import normalize

from drivetrain.contract import TooLarge, ValuePage, evolve
from drivetrain.drivers.memory.backend import MemoryBackend
from mutants.backend_base import broken, mutants_of
from mutants.backend_tasks import Limited
from mutants.value_base import Renames

# V8: what a prefix matches


class ByPattern(MemoryBackend):
    """Lists the keys that `matches` finds."""

    def matches(self, key, prefix):
        """Whether a key is listed."""

    def list_values(self, prefix, *, limit, cursor=None):
        with self._store.condition:
            now = self._clock.monotonic()
            self._store.values.drop_expired(now)
            values = self._store.values._values
            keys = sorted(key for key in values if (cursor is None or key > cursor) and self.matches(key, prefix))
            page = [(key, values[key].seen_at(now)) for key in keys[:limit]]
            return ValuePage(values=page, cursor=page[-1][0] if len(keys) > len(page) else None)


@broken("V8", "reads a prefix as a pattern of a shell")
class ReadsAGlob(ByPattern):
    def matches(self, key, prefix):
        return fnmatchcase(key, prefix + "*")


@broken("V8", "reads a prefix as a pattern of LIKE")
class ReadsLike(ByPattern):
    def matches(self, key, prefix):
        pattern = re.escape(prefix).replace("%", ".*").replace("_", ".")
        return re.match(pattern, key, re.DOTALL) is not None


@broken("V8", "reads a prefix as a regular expression")
class ReadsAnExpression(ByPattern):
    def matches(self, key, prefix):
        try:
            return re.match(prefix, key) is not None
        except re.error:
            return key.startswith(prefix)


@broken("V8", "ignores the case of a prefix, as LIKE does")
class IgnoresCase(ByPattern):
    def matches(self, key, prefix):
        return key.lower().startswith(prefix.lower())


@broken("V8", "normalizes a prefix")
class NormalizesPrefixes(ByPattern):
    def matches(self, key, prefix):
        return normalize("NFC", key).startswith(normalize("NFC", prefix))


@broken("V8", "lists what contains the prefix")
class Contains(ByPattern):
    def matches(self, key, prefix):
        return prefix in key


@broken("V8", "lists what comes before the prefix with the largest character behind it")
class BoundsByACharacter(ByPattern):
    def matches(self, key, prefix):
        return prefix <= key < prefix + "\uffff"


@broken("V8", "lists what comes before the prefix whose last character is the next one")
class BoundsByTheNext(ByPattern):
    def matches(self, key, prefix):
        end = prefix[:-1] + chr(min(ord(prefix[-1]) + 1, 0x10FFFF)) if prefix else "\U0010ffff"
        return prefix <= key < end


@broken("V8", "cuts a prefix at its first NUL")
class CutsAtNul(ByPattern):
    def matches(self, key, prefix):
        return key.startswith(prefix.partition("\0")[0])


# V8: how one page follows another


class Ordered(MemoryBackend):
    """Lists in an order that children choose; the cursor is a position in it."""

    def order(self, table):
        return sorted(table._values)

    def list_values(self, prefix, *, limit, cursor=None):
        with self._store.condition:
            now = self._clock.monotonic()
            self._store.values.drop_expired(now)
            keys = [key for key in self.order(self._store.values) if key.startswith(prefix)]
            first = int(cursor or 0)
            page = [(key, self._store.values._values[key].seen_at(now)) for key in keys[first : first + limit]]
            after = first + limit
            return ValuePage(values=page, cursor=f"{after}" if after < len(keys) else None)


@broken("V8", "has a position in a list as its cursor")
class CountsPositions(Ordered):
    pass


@broken("V8", "lists in the order of the last writes")
class ListsByVersion(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        with self._store.condition:
            now, table = self._clock.monotonic(), self._store.values
            table.drop_expired(now)
            found = sorted((each.version, key) for key, each in table._values.items() if key.startswith(prefix))
            rest = [(version, key) for version, key in found if version > int(cursor or 0)]
            page = [(key, table._values[key].seen_at(now)) for _, key in rest[:limit]]
            return ValuePage(values=page, cursor=f"{rest[limit - 1][0]}" if len(rest) > limit else None)


@broken("V8", "begins again when the key of its cursor is gone")
class BeginsAgain(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        known = cursor is None or cursor in self._store.values._values
        return super().list_values(prefix, limit=limit, cursor=cursor if known else None)


@broken("V8", "ends when the key of its cursor is gone")
class EndsEarly(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        if cursor is not None and cursor not in self._store.values._values:
            return ValuePage()
        return super().list_values(prefix, limit=limit, cursor=cursor)


@broken("V8", "ends after a full page")
class EndsAfterAFullPage(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, cursor=page.cursor if limit > 1 and len(page.values) < limit else None)


@broken("V8", "has one value more on a page than it may")
class OneMore(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        return super().list_values(prefix, limit=limit + 1, cursor=cursor)


@broken("V8", "has the last value of a page on the next one too")
class OverlapsPages(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        if page.cursor is None or len(page.values) < 2:
            return page
        return evolve(page, cursor=page.values[-2][0])


@broken("V8", "lists a value again that was written after its page")
class ListsAgain(MemoryBackend):
    pages: dict = {}

    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        seen = self.pages.setdefault((id(self._store), prefix, limit), {})
        if cursor is None:
            seen.clear()
        again = [
            (key, self._store.values._values[key].seen_at(0.0))
            for key, version in seen.items()
            if key in self._store.values._values and self._store.values._values[key].version != version
        ][: max(0, limit - len(page.values))]
        seen.update((key, value.version) for key, value in (*page.values, *again))
        return evolve(page, values=[*page.values, *again])


@broken("V8", "keeps its lists in the object that began them")
class KeepsLists(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.lists = {}

    def list_values(self, prefix, *, limit, cursor=None):
        rest = self.lists.pop(cursor, []) if cursor is not None else self.all_of(prefix)
        name = f"{len(self.lists)} {id(rest)}"
        if len(rest) > limit:
            self.lists[name] = rest[limit:]
        return ValuePage(values=rest[:limit], cursor=name if len(rest) > limit else None)

    def all_of(self, prefix):
        return list(super().list_values(prefix, limit=1_000_000).values)


@broken("V8", "has no last page")
class NeverEnds(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return page if page.cursor is not None else evolve(page, cursor="\U0010ffff" * 3)


@broken("V8", "has one list at a time")
class OneList(MemoryBackend):
    at: dict = {}

    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor and self.at.get(id(self._store)))
        self.at[id(self._store)] = page.cursor
        return page


@broken("V8", "lists values without their versions")
class ListsWithoutVersions(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key, evolve(value, version=1)) for key, value in page.values])


# V9: which texts are keys, and which bytes are values


@broken("V9", "takes keys for the same that look the same")
class Composes(Renames):
    def same(self, key):
        return normalize("NFC", key)


@broken("V9", "takes keys for the same but for case")
class Folds(Renames):
    def same(self, key):
        return key.casefold()


@broken("V9", "takes keys for the same but for blanks at their end")
class Strips(Renames):
    def same(self, key):
        return key.rstrip()


@broken("V9", "cuts keys at their first NUL")
class CutsKeysAtNul(Renames):
    def same(self, key):
        return key.partition("\0")[0]


@broken("V9", "cuts keys at 255 characters")
class CutsKeys(Renames):
    def same(self, key):
        return key[:255]


@broken("V9", "replaces half a surrogate pair")
class ReplacesSurrogates(Renames):
    def same(self, key):
        return key.encode("utf-8", "replace").decode()


@broken("V9", "joins two halves of a surrogate pair")
class JoinsSurrogates(Renames):
    def same(self, key):
        return key.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@broken("V9", "hashes keys to sixteen bits")
class HashesKeys(Renames):
    def same(self, key):
        return str(crc_hqx(key.encode("utf-8", "surrogatepass"), 0))


@broken("V9", "drops a value with the task of its name")
class ForgetsValues(MemoryBackend):
    def forget(self, task_ids):
        super().forget(task_ids)
        with self._store.condition:
            for task_id in task_ids:
                self._store.values._remove(task_id)


@broken("V9", "stores values among the bodies")
class StoresAmongBodies(MemoryBackend):
    def write_values(self, writes):
        made = super().write_values(writes)
        with self._store.condition:
            for each, outcome in zip(writes, made, strict=True):
                if outcome.written:
                    self._store.bodies.pop(each.key, None)
        return made


@broken("V9", "cuts blanks at the end of a value")
class StripsValues(MemoryBackend):
    def write_values(self, writes):
        return super().write_values([evolve(each, value=each.value and each.value.rstrip()) for each in writes])


@broken("V9", "lists the first thousand bytes of a value")
class ListsBeginnings(MemoryBackend):
    def list_values(self, prefix, *, limit, cursor=None):
        page = super().list_values(prefix, limit=limit, cursor=cursor)
        return evolve(page, values=[(key, evolve(value, value=value.value[:1_000])) for key, value in page.values])


class LimitedValues(Limited):
    """Refuses values that are too large, in the way of its children."""


@broken("V9", "takes values beyond the declared size")
class TakesLarge(LimitedValues):
    write_values = MemoryBackend.write_values


@broken("V9", "refuses a value of the declared size")
class RefusesTheLargest(LimitedValues):
    def write_values(self, writes):
        if any(len(each.value or b"") >= self.limit for each in writes):
            raise TooLarge("a versioned value", self.limit, self.limit - 1)
        return super().write_values(writes)


@broken("V9", "writes a batch up to the value that is too large")
class WritesUpToIt(LimitedValues):
    def write_values(self, writes):
        return [outcome for each in writes for outcome in super(WritesUpToIt, self).write_values([each])]


MUTANTS = mutants_of(globals())
