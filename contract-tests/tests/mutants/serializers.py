"""More broken serializers: what they import, what else they read, and what they share."""

from __future__ import annotations

import importlib
import json
import sys
import threading

from drivetrain.contract import SerializationError
from drivetrain.drivers.json import JsonSerializer
from mutants.others import Changed, each_dict, each_leaf, serializer, when

__all__ = ["MUTANTS"]


def _import(text):
    module = text.partition(":")[0]
    for name in (module, module.rpartition(".")[0]):
        if name and name not in sys.modules:
            try:
                importlib.import_module(name)
            except (ImportError, ValueError):
                continue
            return


def looks_under(key):
    """JSON that imports the module that stands under a key, as rebuilding loaders do."""

    class Rebuilding(JsonSerializer):
        def loads(self, data):
            return self._walk(super().loads(data))

        def _walk(self, value):
            if isinstance(value, list):
                return [self._walk(each) for each in value]
            if isinstance(value, dict):
                named = value.get(key)
                if isinstance(named, str):
                    _import(named)
                return {name: self._walk(each) for name, each in value.items()}
            return value

    return Rebuilding


class ReadsReferences(JsonSerializer):
    """Texts that begin with a mark name an object of a module."""

    def loads(self, data):
        value = super().loads(data)
        if isinstance(value, str) and value.startswith("ref:"):
            _import(value.removeprefix("ref:"))
        return value


class AnyUnicode(JsonSerializer):
    """Reads what the standard library detects: UTF-16 and UTF-32 too."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError:
            try:
                return super().loads(data.decode(json.detect_encoding(data)).encode())
            except (UnicodeError, ValueError) as error:
                raise SerializationError(str(error)) from error


class SkipsMark(JsonSerializer):
    def loads(self, data):
        return super().loads(data.removeprefix(b"\xef\xbb\xbf"))


class EmptyIsNone(JsonSerializer):
    def loads(self, data):
        return super().loads(data) if data else None


class BlankIsNone(JsonSerializer):
    def loads(self, data):
        return super().loads(data) if data.strip() else None


class ReadsFirst(JsonSerializer):
    """Reads the first value, and takes no notice of what follows."""

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError:
            try:
                return json.JSONDecoder().raw_decode(data.decode())[0]
            except (ValueError, RecursionError) as error:
                raise SerializationError(str(error)) from error


class EndsAtNul(JsonSerializer):
    def loads(self, data):
        return super().loads(data.partition(b"\0")[0])


class SortsArguments(JsonSerializer):
    """Sorts the keys of the caller's own dict."""

    def dumps(self, value):
        if isinstance(value, dict):
            items = sorted(value.items())
            value.clear()
            value.update(items)
        return super().dumps(value)


class PopsNone(JsonSerializer):
    """Takes None out of the caller's own dicts."""

    def dumps(self, value):
        self._clean(value)
        return super().dumps(value)

    def _clean(self, value):
        if isinstance(value, dict):
            for key in [key for key, item in value.items() if item is None]:
                del value[key]
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._clean(item)


class EmptiesLists(JsonSerializer):
    """Consumes the lists of its caller."""

    def dumps(self, value):
        dumped = super().dumps(value)
        if isinstance(value, list):
            value.clear()
        return dumped


class CachesLoads(JsonSerializer):
    """Gives the same object for the same bytes."""

    def __init__(self):
        self._known = {}

    def loads(self, data):
        if data not in self._known:
            self._known[data] = super().loads(data)
        return self._known[data]


class CachesDumps(JsonSerializer):
    """Remembers the bytes of an object by its identity."""

    def __init__(self):
        self._known = {}

    def dumps(self, value):
        if isinstance(value, (dict, list)):
            kept, dumped = self._known.setdefault(id(value), (value, super().dumps(value)))
            return dumped if kept is value else super().dumps(value)
        return super().dumps(value)


class SharedDecoder(JsonSerializer):
    """Keeps the bytes that it reads in the object for a moment."""

    def loads(self, data):
        self.data = data
        return super().loads(self.data)


class SharedParts(JsonSerializer):
    """Gathers parts in a list that all threads share."""

    def __init__(self):
        self._parts = []

    def dumps(self, value):
        self._parts.clear()
        self._parts.append(super().dumps(value))
        return b"".join(self._parts)


class LeavesParts(JsonSerializer):
    """Leaves what it has written when it fails in the buffer of its thread."""

    def __init__(self):
        self._local = threading.local()

    def dumps(self, value):
        left = getattr(self._local, "left", b"")
        self._local.left = b"[" if isinstance(value, list) else b"{"
        dumped = super().dumps(value)
        self._local.left = b""
        return left + dumped


class TypePerObject(JsonSerializer):
    made = 0

    def __init__(self):
        self.content_type = "application/json"

    def loads(self, data):
        try:
            return super().loads(data)
        except SerializationError:
            self.content_type = "application/octet-stream"
            raise


def longest(count):
    return each_dict(lambda items: dict(list(items.items())[:count]))


MUTANTS = [
    *(
        serializer(f"imports what stands under {key}", "S3", looks_under(key))
        for key in ("__type__", "$module", "@class", "import", "_model_", "py/handler")
    ),
    serializer("imports what a text refers to", "S3", ReadsReferences),
    serializer("reads UTF-16 and UTF-32", "S2", AnyUnicode),
    serializer("skips a byte-order mark", "S2", SkipsMark),
    serializer("reads no bytes as None", "S2", EmptyIsNone),
    serializer("reads blanks as None", "S2", BlankIsNone),
    serializer("reads the first of several values", "S2", ReadsFirst),
    serializer("reads up to the first NUL", "S2", EndsAtNul),
    serializer("sorts the keys of its argument", "S1", SortsArguments),
    serializer("takes None out of its argument", "S1", PopsNone),
    serializer("empties the list that it dumps", "S1", EmptiesLists),
    serializer("gives the same object for the same bytes", "S1", CachesLoads),
    serializer("remembers the bytes of an object that has changed", "S1", CachesDumps),
    serializer("leaves the rest of a failed dump in its buffer", "S1", LeavesParts),
    serializer("cuts keys at 255 characters", "S1", lambda: Changed(each_dict(_short_keys))),
    serializer("keeps 65,536 keys of a dict", "S1", lambda: Changed(longest(65_536))),
    serializer("strips text", "S1", lambda: Changed(when(str, str.strip))),
    serializer("drops a byte-order mark from text", "S1", lambda: Changed(when(str, _without_mark))),
    serializer("turns large whole floats into integers", "S1", lambda: Changed(back=each_leaf(_large_to_int))),
    serializer("shares what it reads between threads", "S5", SharedDecoder),
    serializer("shares the parts of what it writes between threads", "S5", SharedParts),
    serializer("changes its content type after an error", "S4", TypePerObject),
]  # fmt: skip


def _large_to_int(value):
    return int(value) if type(value) is float and value.is_integer() and abs(value) > 1e15 else value


def _short_keys(items):
    return {key[:255]: item for key, item in items.items()}


def _without_mark(text):
    return text.removeprefix("\ufeff")
